"""The @tool decorator: what a tool is, what it takes, and binding a call to it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, overload

from . import codec, schema
from .errors import DefinitionError, InvalidArguments, Unencodable, type_name
from .hints import Hint, Mismatch

if TYPE_CHECKING:
    from typing import Literal, TypeVar

    from .session import Session

    F = TypeVar("F", bound=Callable[..., Any])
    OnConflict = Literal["ignore", "fail", "retry"]

# Flags of code objects, as in inspect, whose import takes longer than all of this.
_VARARGS, _VARKEYWORDS = 0x04, 0x08
_GENERATOR, _COROUTINE, _ITERABLE_COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x100, 0x200
_REQUIRED = object()  # in place of a default
_ANY = object  # in place of a type hint
_ON_CONFLICT = ("ignore", "fail", "retry")

# Every tool in the order of definition.
_definitions: list[Tool] = []


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    *,
    name: str | None = None,
    readonly: bool = False,
    idempotent: bool = False,
    local: bool | None = None,
    on_conflict: OnConflict | None = None,
) -> Callable[[F], F]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    readonly: bool = False,
    idempotent: bool = False,
    local: bool | None = None,
    on_conflict: str | None = None,
) -> Any:
    """Make a function a tool that the host can call by name.

    Works on plain, async, generator and async generator functions, as
    ``@tool`` and ``@tool(...)``; the function itself stays as it is.

    ``name``
        the name callers use; default: the function's
    ``readonly``
        the tool never changes its session; its calls may overlap others
    ``idempotent``
        the tool may be run again if a worker dies while running it
    ``local``
        False: the tool never uses session.local, and its calls need not wait
        for the worker that keeps such objects; True: it does use it, if only
        now and then. Without either, what it was seen to do counts.
    ``on_conflict``
        what becomes of a call if another write has changed variables of the
        session that it has read or written: ``"ignore"`` (the last writer
        wins; the default), ``"fail"``, or ``"retry"`` (it runs again on the newer state);
        callers may say otherwise

    The parameters' type hints are checked in every call and given to callers
    as a JSON Schema. A parameter named ``session``, or with the type
    ``snakepit.Session``, gets the session of the call.
    """

    def define(function: Any) -> Any:
        made = Tool(function, name, readonly, idempotent, local, on_conflict)
        function.__snakepit_tool__ = made
        _definitions.append(made)
        return function

    return define if function is None else define(function)


def defined() -> dict[str, Tool]:
    """All tools defined so far, by name.

    Raises DefinitionError if two functions have the same; a function that was
    defined again, by a reload, replaces itself.
    """
    tools: dict[str, Tool] = {}
    for made in _definitions:
        other = tools.setdefault(made.name, made)
        if (other.module, other.qualname) != (made.module, made.qualname):
            raise DefinitionError(
                f"two tools are named {made.name!r}: {other.module}.{other.qualname} and {made.module}.{made.qualname}"
            )
        tools[made.name] = made
    return tools


def as_tool(thing: object) -> Tool:
    """The Tool behind a decorated function, or the Tool itself."""
    made = thing if isinstance(thing, Tool) else getattr(thing, "__snakepit_tool__", None)
    if made is None:
        raise TypeError(f"{thing!r} is not a tool; decorate it with @tool")
    return made


class _Parameter:
    __slots__ = ("name", "default", "hint", "positional")

    def __init__(self, name: str, default: object, hint: Hint, positional: bool) -> None:
        self.name = name
        self.default = default
        self.hint = hint
        self.positional = positional


class Tool:
    """A function the worker offers."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str | None = None,
        readonly: bool = False,
        idempotent: bool = False,
        local: bool | None = None,
        on_conflict: str | None = None,
    ) -> None:
        inner: Any = function
        while hasattr(inner, "__wrapped__"):  # functools.wraps
            inner = inner.__wrapped__
        if isinstance(function, type) or not callable(function) or not hasattr(inner, "__code__"):
            raise DefinitionError(f"@tool is for functions, not for {function!r}")
        self.function = function
        self.name = name or inner.__name__
        self.module = inner.__module__
        self.qualname = inner.__qualname__
        self.readonly = readonly
        self.idempotent = idempotent
        self.local = local
        if on_conflict is not None and on_conflict not in _ON_CONFLICT:
            raise DefinitionError(f"on_conflict={on_conflict!r} is none of {', '.join(_ON_CONFLICT)}")
        self.on_conflict = on_conflict
        flags = inner.__code__.co_flags
        self.is_coroutine = bool(flags & (_COROUTINE | _ITERABLE_COROUTINE))  # async, or types.coroutine
        self.streams = bool(flags & (_GENERATOR | _ASYNC_GENERATOR)) and not self.is_coroutine
        self._inner = inner
        self._ready = False

    # -- what it takes. Hints are resolved when they are first needed, because
    # they may name what the module defines further down.

    def prepare(self) -> Tool:
        """Resolve the type hints. Raises DefinitionError."""
        if self._ready:
            return self
        code = self._inner.__code__
        if code.co_flags & _VARARGS:
            raise self._wrong("it takes *args, but arguments are passed by name; use a list parameter")
        positional, total = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
        names = code.co_varnames[:total]
        defaults = self._inner.__defaults__ or ()
        default_of = dict(zip(names[positional - len(defaults) : positional], defaults))
        default_of.update(self._inner.__kwdefaults__ or {})
        self._session: str | None = None
        self._session_required = False
        self._parameters: dict[str, _Parameter] = {}
        self._positional: list[str] = []
        for i, name in enumerate(names):
            hint = self._resolve(name)
            if _is_session(hint) or name == "session":
                if hint is not _ANY and not _is_session(hint):
                    raise self._wrong("the parameter 'session' is the session of the call; give another name to yours")
                if self._session is not None:
                    raise self._wrong("it takes the session twice")
                self._session, self._session_required = name, name not in default_of
            else:
                self._parameters[name] = _Parameter(
                    name, default_of.get(name, _REQUIRED), self._compile(name, hint), i < code.co_posonlyargcount
                )
            if i < code.co_posonlyargcount:
                self._positional.append(name)
        self._extra: Hint | None = None
        if code.co_flags & _VARKEYWORDS:
            name = code.co_varnames[total]
            self._extra = self._compile(name, self._resolve(name))
        self._checks = {p.name: p.hint.check for p in self._parameters.values()}
        self._needed = frozenset(p.name for p in self._parameters.values() if p.default is _REQUIRED)
        self._ready = True
        return self

    def _resolve(self, name: str) -> object:
        """The type hint of a parameter, as an object."""
        try:
            return schema.resolve(self._inner.__annotations__.get(name, _ANY), self._inner.__globals__)
        except Exception as e:
            problem = f"the type of its parameter {name!r} cannot be resolved: {type_name(type(e))}: {e}"
            raise self._wrong(problem) from e

    def _compile(self, name: str, hint: object) -> Hint:
        try:
            return schema.compile_hint(hint, self._inner.__globals__)
        except DefinitionError as e:
            raise self._wrong(f"parameter {name!r}: {e}") from None
        except Exception as e:
            raise self._wrong(f"the type of its parameter {name!r} cannot be used: {type_name(type(e))}: {e}") from e

    def _wrong(self, problem: str) -> DefinitionError:
        code = self._inner.__code__
        return DefinitionError(f"tool {self.name!r} ({code.co_filename}:{code.co_firstlineno}): {problem}")

    @property
    def takes_session(self) -> bool:
        return self.prepare()._session is not None

    def describe(self) -> dict[str, Any]:
        """The tool as `hello` announces it."""
        self.prepare()
        properties = {}
        for p in self._parameters.values():
            described = p.hint.schema
            if p.default is not _REQUIRED:
                described = {**described, **_default(p.default)}
            properties[p.name] = described
        parameters: dict[str, Any] = {"type": "object", "properties": properties}
        required = [p.name for p in self._parameters.values() if p.default is _REQUIRED]
        if required:
            parameters["required"] = required
        parameters["additionalProperties"] = False if self._extra is None else self._extra.schema or True
        schema.hoist_definitions(parameters)
        described = {
            "name": self.name,
            "doc": _clean(self._inner.__doc__),
            "parameters": parameters,
            "readonly": self.readonly,
            "idempotent": self.idempotent,
            "streams": self.streams,
            "session": self.takes_session,
        }
        if self.local is not None:
            described["local"] = self.local
        if self.on_conflict is not None:
            described["on_conflict"] = self.on_conflict
        return described

    # -- one call

    def bind(self, args: dict[str, Any], session: Session | None) -> Callable[[], Any]:
        """Check the arguments; return the function ready to be called.

        Raises InvalidArguments.
        """
        if type(args) is not dict:
            raise InvalidArguments(f"the arguments of tool {self.name!r} must be an object, by name")
        checks = self._checks
        bound: dict[str, Any] = {}
        name = ""
        try:
            for name, value in args.items():
                check = checks.get(name)
                if check is None:
                    check = self._check_of_extra(name)
                bound[name] = check(value)
        except Mismatch as e:
            where = name + "".join(reversed(e.path))
            raise InvalidArguments(f"argument {where!r} of tool {self.name!r}: {e.problem()}", name) from e.__cause__
        if not self._needed <= bound.keys():
            self._refuse_missing(bound)
        if self._session is not None:
            if session is not None:
                bound[self._session] = session
            elif self._session_required:
                raise InvalidArguments(f"tool {self.name!r} works on a session; call it in one")
        return self._call(bound)

    def _call(self, bound: dict[str, Any]) -> Callable[[], Any]:
        function = self.function
        if not self._positional:
            return functools.partial(function, **bound)
        positional: list[object] = []
        for name in self._positional:
            if name in bound:
                positional.append(bound.pop(name))
            else:  # a default; those to its right are then named defaults, too
                parameter = self._parameters.get(name)
                positional.append(None if parameter is None else parameter.default)
        return functools.partial(function, *positional, **bound)

    def _check_of_extra(self, name: str) -> Callable[..., Any]:
        if self._extra is None or name == self._session:
            takes = ", ".join(self._parameters) or "no arguments"
            raise InvalidArguments(f"tool {self.name!r} has no parameter {name!r}; it takes {takes}", name)
        return self._extra.check

    def _refuse_missing(self, bound: dict[str, Any]) -> None:
        missing = [name for name in self._parameters if name in self._needed and name not in bound]
        expected = ", ".join(f"{name!r} ({self._parameters[name].hint.name})" for name in missing)
        noun = "argument" if len(missing) == 1 else "arguments"
        raise InvalidArguments(f"tool {self.name!r}: missing {noun} {expected}", missing[0])


def _is_session(hint: object) -> bool:
    """Whether a hint is Session or Optional[Session]."""
    from .session import Session

    if hint is Session:
        return True
    options = getattr(hint, "__args__", ())
    return len(options) == 2 and Session in options and type(None) in options


def _default(value: object) -> dict[str, Any]:
    """The entry of a schema for a default, if it is one that callers could give."""
    try:
        text, parts = codec.encode(value, "default")
    except Unencodable:
        return {}
    return {} if parts else {"default": codec.loads(text.decode())}


def _clean(doc: str | None) -> str:
    """A docstring without its indentation."""
    lines = (doc or "").expandtabs().strip().splitlines()
    margin = min((len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()), default=0)
    return "\n".join(lines[:1] + [line[margin:].rstrip() for line in lines[1:]])


def load(target: str) -> None:
    """Import the user's tools: a path of a .py file, or a module's name.

    Raises whatever the import raises, and DefinitionError.
    """
    import importlib
    import os

    if not (target.endswith(".py") or os.sep in target):
        if "" not in sys.path and os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        importlib.import_module(target)
        return
    path = os.path.abspath(target)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no such file: {path}")
    name = os.path.basename(path)[: -len(".py")] if path.endswith(".py") else os.path.basename(path)
    if name in sys.modules or name in getattr(sys, "stdlib_module_names", ()):
        raise DefinitionError(f"{path} is named like the module {name!r}, which it would hide; rename it")
    # As for a script: its folder comes first, and child processes that
    # import their functions by name find it.
    folder = os.path.dirname(path)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    import importlib.util

    spec: Any = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as e:
        del sys.modules[name]
        if isinstance(e, ImportError) and "relative import" in str(e):
            raise _needs_its_package(path) from e
        raise


def _needs_its_package(path: str) -> DefinitionError:
    """What is wrong with the path of a file that imports ``from .other``."""
    import os

    folder, module = os.path.split(path[: -len(".py")] if path.endswith(".py") else path)
    while True:
        folder, package = os.path.split(folder)
        module = f"{package}.{module}"
        if not os.path.isfile(os.path.join(folder, "__init__.py")):
            break
    return DefinitionError(
        f"{path} imports from its package, so it has to be named as a module: {module}, "
        f"with the directory {folder} in python_path or as the working directory"
    )
