"""Type hints: their JSON Schema, and the check of a value against them.

``compile_hint`` turns a hint into a ``Hint``, a pair of both. A check returns
the value as the tool shall get it (an int as float, an object as a dataclass)
or raises Mismatch.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from datetime import date, datetime, time

from .codec import step
from .errors import DefinitionError, type_name


class Mismatch(Exception):
    """A value does not fit its type hint.

    ``path`` leads to it, and grows from the inside out. The message is made
    when it is asked for: a union tries one hint after the other.
    """

    def __init__(self, expected: str, value: object) -> None:
        super().__init__()
        self.path: list[str] = []
        self._expected = expected
        self._value = value

    def problem(self) -> str:
        """What is wrong, for people."""
        return f"expected {self._expected}, got {_shown(self._value)}"


class Misfit(Mismatch):
    """A value has the right type and is wrong in another way."""

    def __init__(self, problem: str) -> None:
        super().__init__("", None)
        self._problem = problem

    def problem(self) -> str:
        return self._problem


def _shown(value: object) -> str:
    if value is None:
        return "None"
    kind = type_name(type(value))
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return kind
    return f"{kind} {text}" if len(text) <= 60 else f"{kind} {text[:57]}..."


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


def compile_hint(hint: object, scope: dict) -> Hint:
    """Compile a type hint, with the names of ``scope``. Raises DefinitionError."""
    return _Compiler(scope).compile(hint)


class _Compiler:
    def __init__(self, scope: dict, open_classes: tuple = ()) -> None:
        self._scope = scope
        self._open = open_classes  # classes that are being compiled

    def compile(self, hint: object) -> Hint:
        hint = resolve(hint, self._scope)
        try:
            simple = _SIMPLE.get(hint)
        except TypeError:  # unhashable, as Annotated[int, []] is
            simple = None
        return simple if simple is not None else self._compile(hint)

    def _compile(self, hint: object) -> Hint:
        import types
        import typing  # only now: most tools need no more than the simple types

        if hint is typing.Any or isinstance(hint, typing.TypeVar):
            return ANY
        for alias in ("__supertype__", "__value__"):  # NewType, and type X = ...
            if hasattr(hint, alias):
                return self.compile(getattr(hint, alias))
        if hasattr(hint, "__metadata__"):  # Annotated
            return self._annotated(hint)
        origin = typing.get_origin(hint) or hint
        args = typing.get_args(hint)
        if origin is typing.Union or origin is getattr(types, "UnionType", None):
            return _union([self.compile(arg) for arg in args])
        if origin is typing.Literal:
            return _literal(args)
        if isinstance(origin, type):
            compiled = self._container(origin, args) or self._class(origin)
            if compiled is not None:
                return compiled
        raise DefinitionError(
            f"the type {_name(hint)} is not one that arguments can have; use JSON types, bytes, datetimes, "
            "dataclasses, TypedDicts or Enums, or Any to take whatever comes"
        )

    def _annotated(self, hint: object) -> Hint:
        inner = self.compile(hint.__origin__)
        text = next((m for m in hint.__metadata__ if isinstance(m, str)), None)
        return inner if text is None else Hint(inner.name, {**inner.schema, "description": text}, inner.check)

    def _container(self, origin: type, args: tuple) -> Hint | None:
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

    def _list(self, kind: str, args: tuple, convert: type | None) -> Hint:
        item = self.compile(args[0]) if args else ANY
        name = f"{kind}[{item.name}]" if item is not ANY else kind
        schema: dict = {"type": "array"}
        if item.schema:
            schema["items"] = item.schema
        one = item.check

        def check(value: object) -> object:
            if type(value) is not list:
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

    def _tuple(self, args: tuple) -> Hint:
        items = [self.compile(arg) for arg in args if arg != ()]  # Tuple[()] of Python 3.9 and 3.10
        name = f"tuple[{', '.join(item.name for item in items)}]"
        n = len(items)
        schema = {"type": "array", "prefixItems": [item.schema for item in items], "minItems": n, "maxItems": n}
        checks = [item.check for item in items]

        def check(value: object) -> object:
            if type(value) is not list or len(value) != n:
                raise Mismatch(name, value)
            return tuple(_check_items(value, checks))

        return Hint(name, schema, check)

    def _dict(self, args: tuple) -> Hint:
        if args and self.compile(args[0]).name not in ("str", ANY.name):
            raise DefinitionError(f"the keys of a dict argument are str, not {_name(args[0])}")
        item = self.compile(args[1]) if args else ANY
        name = f"dict[str, {item.name}]" if item is not ANY else "dict"
        schema: dict = {"type": "object"}
        if item.schema:
            schema["additionalProperties"] = item.schema
        one = item.check

        def check(value: object) -> object:
            if type(value) is not dict:
                raise Mismatch(name, value)
            if item is ANY:
                return value
            checked = {}
            for key, element in value.items():
                try:
                    checked[key] = one(element)
                except Mismatch as e:
                    e.path.append(step(key))
                    raise
            return checked

        return Hint(name, schema, check)

    def _class(self, kind: type) -> Hint | None:
        enum = sys.modules.get("enum")  # not imported: no class is an Enum
        if enum is not None and issubclass(kind, enum.Enum):
            return _enum(kind)
        if hasattr(kind, "__dataclass_fields__"):
            import dataclasses

            fields = [f for f in dataclasses.fields(kind) if f.init]
            none = dataclasses.MISSING
            required = [f.name for f in fields if f.default is none and f.default_factory is none]
            return self._structure(kind, [f.name for f in fields], required, kind)
        if issubclass(kind, dict) and hasattr(kind, "__total__"):  # TypedDict
            names = list(kind.__annotations__)
            return self._structure(kind, names, [n for n in names if n in kind.__required_keys__], dict)
        return None

    def _structure(self, kind: type, names: list[str], required: list[str], build: Callable) -> Hint:
        """A class with named fields."""
        if kind in self._open:
            raise DefinitionError(f"the type {type_name(kind)} contains itself; use dict for the inner one")
        fields = {}
        for base in reversed(kind.__mro__):
            scope = vars(sys.modules[base.__module__])
            compiler = _Compiler(scope, (*self._open, kind))
            for name, hint in _own_annotations(base).items():
                if name in names:
                    fields[name] = compiler.compile(_unwrap_required(resolve(hint, scope)))
        schema = {
            "type": "object",
            "properties": {name: fields[name].schema for name in names},
            "required": required,
            "additionalProperties": False,
        }

        def check(value: object) -> object:
            if type(value) is not dict:
                raise Mismatch(kind.__name__, value)
            values = {}
            for key, element in value.items():
                field = fields.get(key)
                if field is None:
                    raise Misfit(f"{kind.__name__} has no field {key!r}; it has {', '.join(names)}")
                try:
                    values[key] = field.check(element)
                except Mismatch as e:
                    e.path.append(step(key))
                    raise
            for name in required:
                if name not in values:
                    raise Misfit(f"the field {name!r} of {kind.__name__} is missing")
            try:
                return build(**values)
            except (TypeError, ValueError) as e:  # of a __post_init__
                raise Misfit(str(e)) from e

        return Hint(kind.__name__, schema, check)


def _check_items(values: list, checks) -> list:
    checked = []
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
    checks = sorted((option.check for option in options), key=lambda check: check is _check_float)

    def check(value: object) -> object:
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


def _literal(values: tuple) -> Hint:
    return _choice(values, {(type(value), value): value for value in values})


def _enum(kind: type) -> Hint:
    return _choice([m.value for m in kind], {(type(m.value), m.value): m for m in kind})


def _choice(values, results: dict) -> Hint:
    name = ", ".join(map(repr, values))
    if len(values) > 1:
        name = f"one of {name}"

    def check(value: object) -> object:
        try:
            return results[type(value), value]
        except (KeyError, TypeError):  # not there, or not hashable
            raise Mismatch(name, value) from None

    return Hint(name, {"enum": list(values)}, check)


def _name(hint: object) -> str:
    return type_name(hint) if isinstance(hint, type) else str(hint)


def _own_annotations(kind: type) -> dict:
    if sys.version_info >= (3, 10):  # which do not inherit them
        return getattr(kind, "__annotations__", {})
    return kind.__dict__.get("__annotations__", {})


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
    return resolve(_eval_with_unions(hint, scope), scope)


def _eval_with_unions(hint: str, scope: dict) -> object:
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
