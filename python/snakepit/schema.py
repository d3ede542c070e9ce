"""Type hints: their JSON Schema, and the check of a value against them.

``compile_hint`` turns a hint into a ``Hint``, a pair of both. A check returns
the value as the tool shall get it (an int as float, a dict as a dataclass) or
raises Mismatch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import date, datetime, time

from .codec import step
from .errors import DefinitionError, type_name


class Mismatch(Exception):
    """A value does not fit its type hint; ``path`` grows from the inside out."""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__()
        self.expected = expected
        self.value = value
        self.path: list[str] = []

    def came(self) -> str:
        """What came instead, for people."""
        if self.value is None:
            return "None"
        kind = type_name(type(self.value))
        try:
            text = json.dumps(self.value, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError):
            return kind
        return f"{kind} {text}" if len(text) <= 60 else f"{kind} {text[:57]}..."


class Missing(Exception):
    """A field of a structured argument is missing."""

    def __init__(self, field: str, owner: str) -> None:
        super().__init__()
        self.problem = f"the field {field!r} of {owner} is missing"
        self.path: list[str] = []


class Hint:
    """A compiled type hint: its name for messages, JSON Schema and check."""

    __slots__ = ("name", "schema", "check")

    def __init__(self, name: str, schema: dict, check: Callable[[object], object]) -> None:
        self.name = name
        self.schema = schema
        self.check = check


def _exactly(kind: type, name: str, schema: dict) -> Hint:
    def check(value: object) -> object:
        if type(value) is kind:
            return value
        raise Mismatch(name, value)

    return Hint(name, schema, check)


def _check_float(value: object) -> object:
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise Mismatch("float", value) from None
    raise Mismatch("float", value)


def _check_any(value: object) -> object:
    return value


ANY = Hint("any value", {}, _check_any)


def _marker(name: str, content: dict) -> dict:
    return {"type": "object", "properties": {name: content}, "required": [name], "additionalProperties": False}


_BYTES = _marker("$bytes", {"type": "integer", "minimum": 0})


def _check_bytearray(value: object) -> object:
    if type(value) is bytes:
        return bytearray(value)
    raise Mismatch("bytes", value)


def _check_memoryview(value: object) -> object:
    if type(value) is bytes:
        return memoryview(value)
    raise Mismatch("bytes", value)


_SIMPLE = {
    object: ANY,
    type(None): _exactly(type(None), "None", {"type": "null"}),
    None: _exactly(type(None), "None", {"type": "null"}),
    bool: _exactly(bool, "bool", {"type": "boolean"}),
    int: _exactly(int, "int", {"type": "integer"}),
    float: Hint("float", {"type": "number"}, _check_float),
    str: _exactly(str, "str", {"type": "string"}),
    bytes: _exactly(bytes, "bytes", _BYTES),
    bytearray: Hint("bytes", _BYTES, _check_bytearray),
    memoryview: Hint("bytes", _BYTES, _check_memoryview),
    datetime: _exactly(datetime, "datetime", _marker("$datetime", {"type": "string", "format": "date-time"})),
    date: _exactly(date, "date", _marker("$date", {"type": "string", "format": "date"})),
    time: _exactly(time, "time", _marker("$time", {"type": "string", "format": "time"})),
}


def compile_hint(hint: object) -> Hint:
    """Compile a resolved type hint. Raises DefinitionError."""
    try:
        simple = _SIMPLE.get(hint)
    except TypeError:  # unhashable, as Annotated[int, []] is
        simple = None
    return simple if simple is not None else _compile(hint)


def _compile(hint: object) -> Hint:
    import types
    import typing  # only now: most tools need no more than the simple types

    if hint is typing.Any or isinstance(hint, typing.TypeVar):
        return ANY
    if hasattr(hint, "__supertype__"):  # NewType
        return compile_hint(hint.__supertype__)
    if hasattr(hint, "__value__") and type(hint).__name__ == "TypeAliasType":  # type X = ...
        return compile_hint(hint.__value__)
    if hasattr(hint, "__metadata__"):  # Annotated
        return _annotated(hint)
    origin = typing.get_origin(hint) or hint
    args = typing.get_args(hint)
    if origin is typing.Union or origin is getattr(types, "UnionType", None):
        return _union([compile_hint(arg) for arg in args])
    if origin is typing.Literal:
        return _literal(args)
    if isinstance(origin, type):
        compiled = _container(origin, args) or _class(origin)
        if compiled is not None:
            return compiled
    raise DefinitionError(
        f"the type {_name(hint)} is not one that arguments can have; use JSON types, bytes, datetimes, "
        "dataclasses, TypedDicts or Enums, or Any to take whatever comes"
    )


def _name(hint: object) -> str:
    return type_name(hint) if isinstance(hint, type) else str(hint)


def _annotated(hint: object) -> Hint:
    inner = compile_hint(hint.__origin__)
    text = next((m for m in hint.__metadata__ if isinstance(m, str)), None)
    return inner if text is None else Hint(inner.name, {**inner.schema, "description": text}, inner.check)


def _union(options: list[Hint]) -> Hint:
    name = " or ".join(option.name for option in options)
    # An exact fit goes before a conversion: True of Union[float, int] is
    # neither, 3 is an int.
    checks = sorted((option.check for option in options), key=lambda check: check is _check_float)

    def check(value: object) -> object:
        deepest: Mismatch | Missing | None = None
        for one in checks:
            try:
                return one(value)
            except (Mismatch, Missing) as e:
                if (e.path or type(e) is Missing) and (deepest is None or len(e.path) > len(deepest.path)):
                    deepest = e
        if deepest is not None:  # the option that fitted best says it best
            raise deepest
        raise Mismatch(name, value)

    return Hint(name, {"anyOf": [option.schema for option in options]}, check)


def _literal(values: tuple) -> Hint:
    name = "one of " + ", ".join(map(repr, values)) if len(values) > 1 else repr(values[0])

    def check(value: object) -> object:
        for allowed in values:
            if type(allowed) is type(value) and allowed == value:
                return allowed
        raise Mismatch(name, value)

    return Hint(name, {"enum": list(values)}, check)


def _container(origin: type, args: tuple) -> Hint | None:
    from collections import abc

    if origin in (list, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection):
        return _list("list", args, lambda items: items)
    if origin in (set, abc.Set, abc.MutableSet):
        return _list("set", args, _hashed(set))
    if origin is frozenset:
        return _list("frozenset", args, _hashed(frozenset))
    if origin is tuple:
        if not args or (len(args) == 2 and args[1] is Ellipsis):
            return _list("tuple", args[:1], tuple)
        return _tuple(args)
    if origin in (dict, abc.Mapping, abc.MutableMapping):
        return _dict(args)
    return None


def _hashed(kind: type) -> Callable:
    def convert(items: list) -> object:
        try:
            return kind(items)
        except TypeError:
            raise Mismatch(f"{kind.__name__} of values that can be hashed", items) from None

    return convert


def _list(kind: str, args: tuple, convert: Callable[[list], object]) -> Hint:
    item = compile_hint(args[0]) if args else ANY
    name = f"{kind}[{item.name}]" if item is not ANY else kind
    schema: dict = {"type": "array"}
    if item.schema:
        schema["items"] = item.schema
    one = item.check

    def check(value: object) -> object:
        if type(value) is not list:
            raise Mismatch(name, value)
        if one is _check_any:
            return convert(value)
        items = []
        try:
            for element in value:
                items.append(one(element))
        except (Mismatch, Missing) as e:
            e.path.append(f"[{len(items)}]")
            raise
        return convert(items)

    return Hint(name, schema, check)


def _tuple(args: tuple) -> Hint:
    items = [compile_hint(arg) for arg in args if arg != ()]  # Tuple[()] of Python 3.9 and 3.10
    name = f"tuple[{', '.join(item.name for item in items)}]"
    schema = {"type": "array", "prefixItems": [i.schema for i in items], "minItems": len(items), "maxItems": len(items)}

    def check(value: object) -> object:
        if type(value) is not list or len(value) != len(items):
            raise Mismatch(name, value)
        checked = []
        try:
            for item, element in zip(items, value):
                checked.append(item.check(element))
        except (Mismatch, Missing) as e:
            e.path.append(f"[{len(checked)}]")
            raise
        return tuple(checked)

    return Hint(name, schema, check)


def _dict(args: tuple) -> Hint:
    if args and args[0] is not str and compile_hint(args[0]) is not ANY:
        raise DefinitionError(f"the keys of a dict argument are str, not {_name(args[0])}")
    item = compile_hint(args[1]) if args else ANY
    name = f"dict[str, {item.name}]" if item is not ANY else "dict"
    schema: dict = {"type": "object"}
    if item.schema:
        schema["additionalProperties"] = item.schema
    one = item.check

    def check(value: object) -> object:
        if type(value) is not dict:
            raise Mismatch(name, value)
        if one is _check_any:
            return value
        checked = {}
        for key, element in value.items():
            try:
                checked[key] = one(element)
            except (Mismatch, Missing) as e:
                e.path.append(step(key))
                raise
        return checked

    return Hint(name, schema, check)


def _class(kind: type) -> Hint | None:
    enum = sys.modules.get("enum")  # not imported: no class is an Enum
    if enum is not None and issubclass(kind, enum.Enum):
        return _enum(kind)
    if hasattr(kind, "__dataclass_fields__"):
        return _dataclass(kind)
    if issubclass(kind, dict) and hasattr(kind, "__total__"):
        return _typed_dict(kind)
    return None


def _enum(kind: type) -> Hint:
    values = [member.value for member in kind]
    name = f"one of {', '.join(map(repr, values))}"

    def check(value: object) -> object:
        for member in kind:
            if type(member.value) is type(value) and member.value == value:
                return member
        raise Mismatch(name, value)

    return Hint(name, {"enum": values}, check)


def _dataclass(kind: type) -> Hint:
    import dataclasses

    fields = [f for f in dataclasses.fields(kind) if f.init]
    required = [
        f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    return _structure(kind, [f.name for f in fields], required, lambda values: kind(**values))


def _typed_dict(kind: type) -> Hint:
    names = list(kind.__annotations__)
    required = [name for name in names if name in kind.__required_keys__]
    return _structure(kind, names, required, lambda values: values)


def _structure(kind: type, names: list[str], required: list[str], build: Callable[[dict], object]) -> Hint:
    """A class with named fields."""
    compiled: dict[str, Hint] = {}
    properties: dict = {}
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    if kind in _open:
        raise DefinitionError(f"the type {type_name(kind)} contains itself; use dict for the inner one")
    _open.append(kind)
    try:
        hints = class_hints(kind)
        for name in names:
            compiled[name] = compile_hint(hints[name])
            properties[name] = compiled[name].schema
    finally:
        _open.pop()

    def check(value: object) -> object:
        if type(value) is not dict:
            raise Mismatch(kind.__name__, value)
        values = {}
        for key, element in value.items():
            hint = compiled.get(key)
            try:
                if hint is None:
                    raise Mismatch(f"only the fields {', '.join(names)}", element)
                values[key] = hint.check(element)
            except (Mismatch, Missing) as e:
                e.path.append(step(key))
                raise
        for name in required:
            if name not in values:
                raise Missing(name, kind.__name__)
        return build(values)

    return Hint(kind.__name__, schema, check)


_open: list[type] = []  # classes that are being compiled


def class_hints(kind: type) -> dict:
    """The resolved hints of a class's fields, those of its bases included."""
    hints = {}
    for base in reversed(kind.__mro__):
        scope = vars(sys.modules.get(base.__module__, object))
        for name, hint in base.__dict__.get("__annotations__", {}).items():
            hints[name] = _unwrap_required(resolve(hint, scope))
    for name, hint in getattr(kind, "__annotations__", {}).items():  # a TypedDict has no bases
        if name not in hints:
            hints[name] = _unwrap_required(resolve(hint, vars(sys.modules.get(kind.__module__, object))))
    return hints


def _unwrap_required(hint: object) -> object:
    """T for Required[T], NotRequired[T] and ReadOnly[T]."""
    origin = str(getattr(hint, "__origin__", ""))
    if origin.rpartition(".")[2] in ("Required", "NotRequired", "ReadOnly"):
        return _unwrap_required(hint.__args__[0])
    return hint


def resolve(hint: object, scope: dict) -> object:
    """Evaluate a hint given as text. Raises what the evaluation raises."""
    hint = getattr(hint, "__forward_arg__", hint)  # ForwardRef("X")
    if not isinstance(hint, str):
        return hint
    if sys.version_info >= (3, 10) or "|" not in hint:
        return resolve(eval(hint, scope), scope)  # noqa: S307 - the user's own code
    return _resolve_with_unions(hint, scope)


def _resolve_with_unions(hint: str, scope: dict) -> object:
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
