"""Type hints as users write them, compiled: resolved, and taken apart.

``compile_hint`` turns one into a ``Hint``: its JSON Schema, and the check of a
value against it. What takes part in it: simple types (hints.py), numpy's
(numpys.py), pydantic's (pydantics.py), and here what is composed of others.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable
from typing import Any

from . import codec, numpys, pydantics
from .codec import DICT, LIST
from .errors import DefinitionError, Unencodable, step, type_name
from .hints import ANY, INT, SIMPLE, Check, Hint, Mismatch, Misfit, Schema, as_text, check_float

_CLASS: Any = type  # as DICT and LIST are


def compile_hint(hint: object, scope: dict[str, Any]) -> Hint:
    """Compile a type hint, with the names of ``scope``. Raises DefinitionError."""
    return _Compiler(scope).compile(hint)


class _Compiler:
    def __init__(self, scope: dict[str, Any], open_classes: tuple[Any, ...] = ()) -> None:
        self._scope = scope
        self._open = open_classes  # classes that are being compiled

    def compile(self, hint: object) -> Hint:
        hint = resolve(hint, self._scope)
        try:
            simple = SIMPLE.get(hint)
        except TypeError:  # unhashable, as Annotated[int, []] is
            simple = None
        return simple if simple is not None else self._compile(hint)

    def _compile(self, hint: Any) -> Hint:
        import types
        import typing  # only now: most tools need no more than the simple types

        if hint is typing.Any or isinstance(hint, typing.TypeVar):
            return ANY
        for alias in ("__supertype__", "__value__"):  # NewType, and type X = ...
            if hasattr(hint, alias):
                return self.compile(getattr(hint, alias))
        if hasattr(hint, "__metadata__"):  # Annotated
            return self._annotated(hint)
        origin: Any = typing.get_origin(hint) or hint
        args = typing.get_args(hint)
        if origin is typing.Union or origin is getattr(types, "UnionType", None):
            return _union([self.compile(arg) for arg in args])
        if origin is typing.Literal:
            return _literal(args)
        bare: tuple[Any, ...] = (tuple, typing.Tuple)
        if origin is tuple and not args and hint not in bare:  # tuple[()]
            return self._tuple(())
        if isinstance(origin, _CLASS):
            compiled = self._container(origin, args) or as_text(origin) or self._class(origin, args)
            if compiled is not None:
                return compiled
        raise DefinitionError(
            f"the type {_name(hint)} is not one that arguments can have; use one that docs/python.md lists, "
            "or Any to take whatever comes"
        )

    def _annotated(self, hint: Any) -> Hint:
        inner = self.compile(hint.__origin__)
        text = next((m for m in hint.__metadata__ if isinstance(m, str)), None)
        return inner if text is None else Hint(inner.name, {**inner.schema, "description": text}, inner.check)

    def _container(self, origin: Any, args: tuple[Any, ...]) -> Hint | None:
        from collections import abc

        if origin in (list, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection):
            return self._list("list", args, None)
        if origin in (set, abc.Set, abc.MutableSet):
            return self._list("set", args, set)
        if origin is frozenset:
            return self._list("frozenset", args, frozenset)
        if origin is tuple:
            if not args or (len(args) == 2 and args[1] is Ellipsis):
                return self._list("tuple", args[:1], tuple)
            return self._tuple(args)
        if origin in (dict, abc.Mapping, abc.MutableMapping):
            return self._dict(args)
        return None

    def _list(self, kind: str, args: tuple[Any, ...], convert: type[Any] | None) -> Hint:
        item = self.compile(args[0]) if args else ANY
        name = f"{kind}[{item.name}]" if item is not ANY else kind
        schema: dict[str, Any] = {"type": "array"}
        if item.schema:
            schema["items"] = item.schema
        one = item.check

        def check(value: Any) -> object:
            if not isinstance(value, LIST):
                raise Mismatch(name, value)
            if item is not ANY:
                value = _check_items(value, itertools.repeat(one))
            if convert is None:
                return value
            try:
                return convert(value)
            except TypeError:  # of a set
                raise Misfit(f"the items of a {kind} must be simple values") from None

        return Hint(name, schema, check)

    def _tuple(self, args: tuple[Any, ...]) -> Hint:
        items = [self.compile(arg) for arg in args if arg != ()]  # Tuple[()] of Python 3.9 and 3.10
        name = f"tuple[{', '.join(item.name for item in items)}]"
        n = len(items)
        schema = _tuple_schema(items, n)
        checks = [item.check for item in items]

        def check(value: Any) -> object:
            if not isinstance(value, LIST) or len(value) != n:
                raise Mismatch(name, value)
            return tuple(_check_items(value, checks))

        return Hint(name, schema, check)

    def _named_tuple(self, kind: Any) -> Hint:
        self._refuse_recursion(kind)
        scope = vars(sys.modules[kind.__module__])
        compiler = _Compiler(scope, (*self._open, kind))
        given = _own_annotations(kind)
        items = [compiler.compile(given.get(name, object)) for name in kind._fields]
        checks, least = [item.check for item in items], len(items) - len(kind._field_defaults)

        def check(value: Any) -> object:
            if not isinstance(value, LIST) or not least <= len(value) <= len(checks):
                raise Mismatch(f"{kind.__name__}, an array of {', '.join(kind._fields)}", value)
            return kind(*_check_items(value, checks))

        return Hint(kind.__name__, {**_tuple_schema(items, least), "title": kind.__name__}, check)

    def _dict(self, args: tuple[Any, ...]) -> Hint:
        if args and self.compile(args[0]).name not in ("str", ANY.name):
            raise DefinitionError(f"the keys of a dict argument are str, not {_name(args[0])}")
        item = self.compile(args[1]) if args else ANY
        name = f"dict[str, {item.name}]" if item is not ANY else "dict"
        schema: dict[str, Any] = {"type": "object"}
        if item.schema:
            schema["additionalProperties"] = item.schema
        one = item.check

        def check(value: Any) -> object:
            if not isinstance(value, DICT):
                raise Mismatch(name, value)
            if item is ANY:
                return value
            checked: dict[str, Any] = {}
            for key, element in value.items():
                try:
                    checked[key] = one(element)
                except Mismatch as e:
                    e.path.append(step(key))
                    raise
            return checked

        return Hint(name, schema, check)

    def _class(self, kind: Any, args: tuple[Any, ...]) -> Hint | None:
        enum = sys.modules.get("enum")  # not imported: no class is an Enum
        if enum is not None and issubclass(kind, enum.Enum):
            return _flags(kind) if issubclass(kind, enum.Flag) else _enum(kind)
        bases: tuple[type, ...] = kind.__mro__
        if tuple in bases and hasattr(kind, "_fields"):  # NamedTuple
            return self._named_tuple(kind)
        if hasattr(kind, "__dataclass_fields__"):
            import dataclasses

            fields = dataclasses.fields(kind)
            none = dataclasses.MISSING
            required = [f.name for f in fields if f.init and f.default is none and f.default_factory is none]
            computed = {f.name for f in fields if not f.init}
            return self._structure(kind, [f.name for f in fields], required, kind, computed)
        if dict in bases and hasattr(kind, "__total__"):  # TypedDict
            names = list(kind.__annotations__)
            return self._structure(kind, names, [n for n in names if n in kind.__required_keys__], dict)
        return pydantics.compile_hint(kind, codec.encode_plain) or numpys.compile_hint(kind, args)

    def _refuse_recursion(self, kind: type) -> None:
        if kind in self._open:
            raise DefinitionError(f"the type {type_name(kind)} contains itself; use dict for the inner one")

    def _structure(
        self, kind: Any, names: list[str], required: list[str], build: Callable[..., Any], computed: Iterable[str] = ()
    ) -> Hint:
        """A class with named fields.

        Those it computes itself go out with the others; what comes back of
        them is left aside.
        """
        self._refuse_recursion(kind)
        fields: dict[str, Hint] = {name: _COMPUTED for name in computed}
        for base in reversed(kind.__mro__):
            scope = vars(sys.modules[base.__module__])
            compiler = _Compiler(scope, (*self._open, kind))
            for name, hint in _own_annotations(base).items():
                if name in names and name not in fields:
                    fields[name] = compiler.compile(_unwrap_required(resolve(hint, scope)))
        schema = {
            "type": "object",
            "properties": {name: fields[name].schema for name in names},
            "required": required,
            "additionalProperties": False,
        }

        def check(value: Any) -> object:
            if not isinstance(value, DICT):
                raise Mismatch(kind.__name__, value)
            values: dict[str, Any] = {}
            for key, element in value.items():
                field = fields.get(key)
                if field is None:
                    raise Misfit(f"{kind.__name__} has no field {key!r}; it has {', '.join(names)}")
                try:
                    values[key] = field.check(element)
                except Mismatch as e:
                    e.path.append(step(key))
                    raise
            for name in computed:
                values.pop(name, None)
            for name in required:
                if name not in values:
                    raise Misfit(f"the field {name!r} of {kind.__name__} is missing")
            try:
                return build(**values)
            except (TypeError, ValueError) as e:  # of a __post_init__
                raise Misfit(str(e)) from e

        return Hint(kind.__name__, schema, check)


def _check_items(values: list[Any], checks: Iterable[Check]) -> list[Any]:
    checked: list[Any] = []
    try:
        for check, element in zip(checks, values):
            checked.append(check(element))
    except Mismatch as e:
        e.path.append(f"[{len(checked)}]")
        raise
    return checked


def _union(options: list[Hint]) -> Hint:
    name = " or ".join(option.name for option in options)
    # int goes before float, which takes ints as well.
    checks = sorted((option.check for option in options), key=lambda check: check is check_float)

    def check(value: Any) -> object:
        nearest: Mismatch | None = None
        for one in checks:
            try:
                return one(value)
            except Mismatch as e:
                # The option that fits best says best what is wrong.
                if nearest is None or (len(e.path), type(e) is Misfit) > (len(nearest.path), type(nearest) is Misfit):
                    nearest = e
        if nearest is not None and (nearest.path or type(nearest) is Misfit):
            raise nearest
        raise Mismatch(name, value)

    return Hint(name, {"anyOf": [option.schema for option in options]}, check)


def _tuple_schema(items: list[Hint], least: int) -> Schema:
    schema: Schema = {"type": "array", "minItems": least, "maxItems": len(items)}
    if items:
        schema["prefixItems"] = [item.schema for item in items]
    return schema


_COMPUTED = Hint("any value", {"readOnly": True}, ANY.check)


def _literal(values: tuple[Any, ...]) -> Hint:
    return _choice([(value, value) for value in values])


def _enum(kind: Any) -> Hint:
    return _choice([(member.value, member) for member in kind])


def _choice(choices: list[tuple[object, object]]) -> Hint:
    """One of some values, each with what the tool gets for it."""
    schemas: list[Any] = []
    arrivals: list[str] = []
    composed: list[tuple[object, object]] = []
    results: dict[object, object] = {}
    for value, result in choices:
        try:
            text, parts = codec.encode(value, "value")
        except Unencodable as e:
            raise DefinitionError(f"a choice cannot be given by callers: {e}") from None
        if parts:
            raise DefinitionError(f"a choice cannot be given by callers: {value!r} is bytes")
        wire = codec.loads(text.decode())
        arrival = codec.decode(wire, [])
        schemas.append(wire)
        arrivals.append(repr(arrival))
        if isinstance(arrival, (LIST, DICT)):
            composed.append((arrival, result))
        else:
            results.setdefault(_key(arrival), result)
    name = ", ".join(arrivals) if len(arrivals) == 1 else f"one of {', '.join(arrivals)}"

    def check(value: Any) -> object:
        try:
            return results[_key(value)]
        except (KeyError, TypeError):  # not there, or not hashable
            for arrival, result in composed:
                if arrival == value:
                    return result
            raise Mismatch(name, value) from None

    return Hint(name, {"enum": schemas}, check)


def _key(value: object) -> tuple[type, object]:
    """What tells True, 1 and 1.0 apart in a table."""
    return type(value), value


def _flags(kind: Any) -> Hint:
    """A Flag: the sum of the numbers of some members."""
    every = 0
    for member in kind:
        every |= member.value

    def check(value: Any) -> object:
        number: Any = INT.check(value)
        if number & ~every:
            raise Misfit(f"expected a sum of flags of {kind.__name__}, 0 to {every}, got {number}")
        return kind(number)

    return Hint(kind.__name__, {"type": "integer", "minimum": 0, "maximum": every}, check)


def hoist_definitions(schema: Schema) -> None:
    """Move the $defs of inner schemas to the outer one, to where their references point.

    Of two that differ under one name, the second gets another name.
    """
    found: Schema = {}

    def lift(node: Any, renamed: dict[str, str]) -> Any:
        if isinstance(node, LIST):
            return [lift(item, renamed) for item in node]
        if not isinstance(node, DICT):
            return node
        given: Schema = node.get("$defs", {})
        inner = dict(renamed)
        for name, definition in given.items():
            new, n = name, 1
            while new in taken and taken[new] != definition:
                n += 1
                new = f"{name}-{n}"
            taken[new] = definition
            inner[f"#/$defs/{name}"] = f"#/$defs/{new}"
        for name, definition in given.items():
            found[inner[f"#/$defs/{name}"].rpartition("/")[2]] = lift(definition, inner)
        lifted = {key: lift(item, inner) for key, item in node.items() if key != "$defs"}
        if isinstance(lifted.get("$ref"), str):
            lifted["$ref"] = inner.get(lifted["$ref"], lifted["$ref"])
        return lifted

    taken: Schema = {}
    schema["properties"] = lift(schema["properties"], {})
    schema["additionalProperties"] = lift(schema["additionalProperties"], {})
    if found:
        schema["$defs"] = found


def _name(hint: object) -> str:
    return type_name(hint) if isinstance(hint, type) else str(hint)


def _own_annotations(kind: type) -> dict[str, Any]:
    if sys.version_info >= (3, 10):  # which do not inherit them
        return getattr(kind, "__annotations__", {})
    return kind.__dict__.get("__annotations__", {})


def _unwrap_required(hint: Any) -> object:
    """T for Required[T], NotRequired[T] and ReadOnly[T]."""
    origin = str(getattr(hint, "__origin__", ""))
    if origin.rpartition(".")[2] in ("Required", "NotRequired", "ReadOnly"):
        return _unwrap_required(hint.__args__[0])
    return hint


def resolve(hint: object, scope: dict[str, Any]) -> object:
    """Evaluate a hint given as text. Raises what the evaluation raises."""
    hint = getattr(hint, "__forward_arg__", hint)  # ForwardRef("X")
    if not isinstance(hint, str):
        return hint
    if sys.version_info >= (3, 10) or "|" not in hint:
        return resolve(eval(hint, scope), scope)  # noqa: S307 - the user's own code
    return resolve(_eval_with_unions(hint, scope), scope)


def _eval_with_unions(hint: str, scope: dict[str, Any]) -> object:
    """Evaluate a hint with X | Y in it where types do not know that (3.9)."""
    import ast
    import typing

    class Unions(ast.NodeTransformer):
        def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
            self.generic_visit(node)
            if not isinstance(node.op, ast.BitOr):
                return node
            pair = ast.Tuple([node.left, node.right], ast.Load())
            return ast.Subscript(ast.Name(" Union", ast.Load()), pair, ast.Load())

    tree = ast.fix_missing_locations(Unions().visit(ast.parse(hint.strip(), mode="eval")))
    return eval(compile(tree, "<hint>", "eval"), scope, {" Union": typing.Union})  # noqa: S307
