"""pydantic's models, told by their methods: both of version 2 and of version 1.

A model travels as the JSON it makes of itself, by alias, and is validated by
itself on the way in; its schema is the one it gives.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from . import hints
from .errors import step


def way_of(kind: type) -> Callable[[Any], object] | None:
    """How values of this type travel; None if it is no model."""
    if hasattr(kind, "model_dump") and hasattr(kind, "model_validate"):
        return _dump
    if hasattr(kind, "__fields__") and hasattr(kind, "parse_obj"):
        return _dump_v1
    return None


def _dump(model: Any) -> object:
    return model.model_dump(mode="json", by_alias=True)


def _dump_v1(model: Any) -> object:
    return json.loads(model.json(by_alias=True))


def compile_hint(kind: Any, encode_plain: Callable[[object], bytes | None]) -> hints.Hint | None:
    """The hint of a model; None if this is none.

    encode_plain gives the JSON text of a value that holds nothing but JSON.
    """
    way = way_of(kind)
    if way is None:
        return None

    def validate(value: object) -> object:
        if way is _dump_v1:
            return kind.parse_obj(value)
        # A strict model takes a text for a date from JSON only.
        text = encode_plain(value)
        return kind.model_validate(value) if text is None else kind.model_validate_json(text)

    def check(value: object) -> object:
        try:
            return validate(value)
        except ValueError as e:  # ValidationError
            raise _misfit(kind.__name__, e) from e

    if way is _dump:
        schema = kind.model_json_schema()
    else:
        schema = kind.schema(ref_template="#/$defs/{model}")
        if "definitions" in schema:
            schema["$defs"] = schema.pop("definitions")
    return hints.Hint(kind.__name__, schema, check)


def _misfit(name: str, error: Any) -> hints.Misfit:
    """The first thing that pydantic finds wrong, and where."""
    try:
        errors = error.errors()
        first = errors[0]
        where, problem = first["loc"], first["msg"]
    except (AttributeError, IndexError, KeyError, TypeError):
        return hints.Misfit(f"{name}: {error}")
    if len(errors) > 1:
        problem += f" (and {len(errors) - 1} more)"
    misfit = hints.Misfit(problem)
    for place in reversed([s for s in where if s != "__root__"]):
        misfit.path.append(f"[{place}]" if isinstance(place, int) else step(place))
    return misfit
