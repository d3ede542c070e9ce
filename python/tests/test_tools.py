"""The decorator, the schema made from type hints, and the check of arguments."""

import dataclasses
import enum
import functools
import subprocess
import sys
import typing
import unittest
from datetime import date, datetime
from typing import Any, Dict, List, Literal, NewType, Optional, Tuple, TypedDict, Union

import snakepit
from snakepit import DefinitionError, InvalidArguments, Session, tools
from snakepit.tools import Tool

try:
    from typing import Annotated
except ImportError:  # never: 3.9 has it
    raise


def made(function, **options) -> Tool:
    return Tool(function, options.get("name"), False, False).prepare()


def bind(function, **args):
    """What the tool would get."""
    return made(function).bind(args, None)()


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0
    tags: "List[str]" = dataclasses.field(default_factory=list)

    def __post_init__(self):
        if self.x < 0:
            raise ValueError("x is negative")


@dataclasses.dataclass
class Line:
    ends: Tuple[Point, Point]


class Movie(TypedDict):
    title: str
    year: int


class Rated(Movie, total=False):
    stars: int


class DefinitionTest(unittest.TestCase):
    def test_the_function_stays_as_it_is(self):
        def double(n: int) -> int:
            return 2 * n

        self.assertIs(snakepit.tool(double), double)
        self.assertIs(snakepit.tool(name="x")(double), double)
        self.assertEqual(double(2), 4)

    def test_options(self):
        @snakepit.tool(readonly=True, idempotent=True, name="other")
        def double(n: int = 3):
            """Double it.

            Twice is more.
            """

        self.assertEqual(
            tools.as_tool(double).describe(),
            {
                "name": "other",
                "doc": "Double it.\n\nTwice is more.",
                "parameters": {
                    "type": "object",
                    "properties": {"n": {"type": "integer", "default": 3}},
                    "additionalProperties": False,
                },
                "readonly": True,
                "idempotent": True,
                "streams": False,
                "session": False,
            },
        )

    def test_kinds(self):
        def plain():
            pass

        def generator():
            yield

        async def coroutine():
            pass

        async def async_generator():
            yield

        @functools.wraps(generator)
        def wrapped(*args, **kwargs):
            return generator(*args, **kwargs)

        streams = [made(f).streams for f in (plain, generator, coroutine, async_generator, wrapped)]
        self.assertEqual(streams, [False, True, False, True, True])

    def test_wrapped_functions_keep_their_parameters(self):
        def logged(f):
            @functools.wraps(f)
            def wrapper(*args, **kwargs):
                return ["logged", f(*args, **kwargs)]

            return wrapper

        @logged
        def double(n: int):
            return 2 * n

        self.assertEqual(bind(double, n=2), ["logged", 4])
        with self.assertRaises(InvalidArguments):
            bind(double, n="2")

    def test_what_cannot_be_a_tool(self):
        def star(*args):
            pass

        def odd(x: Color.__class__):
            pass

        def numpy_like(x: "complex"):
            pass

        def unresolved(x: "Nowhere"):  # noqa: F821
            pass

        def keys(x: Dict[int, str]):
            pass

        def mine(session: str):
            pass

        def twice(session, other: Session):
            pass

        for function, problem in [
            (star, r"\*args"),
            (odd, "'x'.*not one that arguments can have"),
            (numpy_like, "complex"),
            (unresolved, "'x'.*NameError.*Nowhere"),
            (keys, "keys of a dict"),
            (mine, "give another name"),
            (twice, "session twice"),
        ]:
            with self.subTest(problem=problem), self.assertRaisesRegex(DefinitionError, problem) as caught:
                made(function)
            self.assertIn("test_tools.py:", str(caught.exception))
        for thing in (int, "x", print):
            with self.subTest(thing=thing), self.assertRaises(DefinitionError):
                snakepit.tool(thing)

    def test_later_definitions_can_be_named(self):
        def f(x: "Later"):
            return x

        tool = Tool(f, None, False, False)
        globals()["Later"] = int
        self.addCleanup(globals().pop, "Later")
        self.assertEqual(tool.prepare().bind({"x": 1}, None)(), 1)


class ArgumentsTest(unittest.TestCase):
    def check(self, hint, good, bad, schema=None, name=None):
        """good: pairs of what comes and what the tool gets; bad: what is refused."""

        def f(x):
            return x

        f.__annotations__ = {"x": hint}
        for came, got in good:
            with self.subTest(hint=hint, value=came):
                result = bind(f, x=came)
                self.assertEqual(result, got)
                self.assertIs(type(result), type(got))
        for came in bad:
            with self.subTest(hint=hint, bad=came), self.assertRaises(InvalidArguments) as caught:
                bind(f, x=came)
            self.assertEqual(caught.exception.parameter, "x")
        if schema is not None:
            self.assertEqual(made(f).describe()["parameters"]["properties"]["x"], schema)
        if name is not None:
            with self.assertRaisesRegex(InvalidArguments, "expected " + name + ", got"):
                bind(f, x=bad[0])

    def test_simple(self):
        self.check(int, [(1, 1), (10**30, 10**30)], [True, 1.0, "1", None], {"type": "integer"}, "int")
        self.check(float, [(1.5, 1.5), (1, 1.0)], [True, "1", 10**400], {"type": "number"}, "float")
        self.check(bool, [(True, True)], [1, 0, None], {"type": "boolean"}, "bool")
        self.check(str, [("a", "a")], [1, b"a", None], {"type": "string"}, "str")
        self.check(None, [(None, None)], [0, ""], {"type": "null"}, "None")
        self.check(bytes, [(b"a", b"a")], ["a", None], name="bytes")
        self.check(bytearray, [(b"a", bytearray(b"a"))], ["a"])
        self.check(memoryview, [(b"a", memoryview(b"a"))], ["a"])
        self.check(datetime, [(datetime(2026, 1, 1), datetime(2026, 1, 1))], ["2026-01-01", date(2026, 1, 1)])
        self.check(date, [(date(2026, 1, 1), date(2026, 1, 1))], [datetime(2026, 1, 1)])
        for anything in (Any, object, typing.TypeVar("T")):
            self.check(anything, [(1, 1), (None, None), ([1], [1])], [], {})

    def test_unions(self):
        self.check(
            Optional[int], [(1, 1), (None, None)], ["1", 1.5], {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "int or None",
        )  # fmt: skip
        self.check(Union[float, int], [(1, 1), (1.0, 1.0)], [True, "1"])
        self.check(Union[int, List[int]], [(1, 1), ([1], [1])], [["a"], "a"])
        if sys.version_info >= (3, 10):
            self.check(int | None, [(1, 1), (None, None)], ["1"])
            self.check(list[int | str], [([1, "a"], [1, "a"])], [[None]])

    def test_texts_of_hints(self):
        self.check("int | None", [(1, 1), (None, None)], ["1"])
        self.check("list[int | None] | dict[str, 'int | float']", [([1, None], [1, None]), ({"a": 1}, {"a": 1})], [["1"]])
        self.check("Optional['Point']", [(None, None), ({"x": 1}, Point(1.0))], [1])
        self.check(List["Point"], [([{"x": 1}], [Point(1.0)])], [[1]])

    def test_containers(self):
        self.check(list, [([1, "a"], [1, "a"])], [{}, "ab", None], {"type": "array"}, "list")
        self.check(List[int], [([1], [1]), ([], [])], [["a"], [True]], {"type": "array", "items": {"type": "integer"}})
        self.check(list[int], [([1], [1])], [["a"]])
        self.check(typing.Sequence[float], [([1, 2.5], [1.0, 2.5])], ["ab"])
        self.check(tuple, [([1], (1,))], [1])
        self.check(Tuple[int, ...], [([1, 2], (1, 2))], [["a"]])
        self.check(Tuple[int, str], [([1, "a"], (1, "a"))], [[1], [1, "a", 2], ["a", 1]])
        self.check(set[int], [([1, 1], {1})], [["a"]])
        self.check(set, [([1, 1], {1})], [[[]]])
        self.check(frozenset[str], [(["a"], frozenset("a"))], [[1]])
        self.check(dict, [({"a": 1}, {"a": 1})], [[], None], {"type": "object"}, "dict")
        self.check(
            Dict[str, float], [({"a": 1}, {"a": 1.0})], [{"a": "x"}, []],
            {"type": "object", "additionalProperties": {"type": "number"}},
        )  # fmt: skip

    def test_choices(self):
        self.check(Literal["a", 1], [("a", "a"), (1, 1)], [True, "b", [], 1.0], {"enum": ["a", 1]}, "one of 'a', 1")
        self.check(Color, [("red", Color.RED)], ["RED", None, {}], {"enum": ["red", "blue"]})

    def test_structures(self):
        self.check(
            Point, [({"x": 1, "tags": ["a"]}, Point(1.0, 0.0, ["a"]))], [{}, {"x": "1"}, {"x": 1, "z": 1}, [1], {"x": -1}],
            {
                "type": "object",
                "properties": {
                    "x": {"type": "number"},
                    "y": {"type": "number"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["x"],
                "additionalProperties": False,
            },
        )  # fmt: skip
        self.check(Line, [({"ends": [{"x": 1}, {"x": 2}]}, Line((Point(1.0), Point(2.0))))], [{"ends": [{"x": 1}]}])
        self.check(Movie, [({"title": "a", "year": 1}, {"title": "a", "year": 1})], [{"title": "a"}])
        self.check(Rated, [({"title": "a", "year": 1}, {"title": "a", "year": 1})], [{"title": "a", "year": 1, "stars": "x"}])

    def test_other_forms(self):
        self.check(NewType("UserId", int), [(1, 1)], ["1"])
        self.check(Annotated[int, 5, "how many"], [(1, 1)], ["1"], {"type": "integer", "description": "how many"})

    def test_messages(self):
        def f(points: List[Point], n: int = 1):
            pass

        for args, parameter, message in [
            ({"points": [], "n": "x"}, "n", "argument 'n' of tool 'f': expected int, got str \"x\""),
            ({"points": [], "n": None}, "n", "argument 'n' of tool 'f': expected int, got None"),
            ({"points": [{"x": 1}, {"x": "a"}]}, "points", "argument 'points[1].x' of tool 'f': expected float, got str \"a\""),
            ({"points": [{}]}, "points", "argument 'points[0]' of tool 'f': the field 'x' of Point is missing"),
            ({"points": [{"x": -1}]}, "points", "argument 'points[0]' of tool 'f': x is negative"),
            ({"points": "y" * 100}, "points", "argument 'points' of tool 'f': expected list[Point], got str \"" + "y" * 56 + "..."),
            ({}, "points", "tool 'f': missing argument 'points' (list[Point])"),
            ({"points": [], "m": 1}, "m", "tool 'f' has no parameter 'm'; it takes points, n"),
        ]:
            with self.subTest(message=message), self.assertRaises(InvalidArguments) as caught:
                bind(f, **args)
            self.assertEqual(str(caught.exception), message)
            self.assertEqual(caught.exception.parameter, parameter)

    def test_unions_say_what_fits_best(self):
        def f(p: Union[int, Point]):
            pass

        with self.assertRaisesRegex(InvalidArguments, "'p.x'.*expected float"):
            bind(f, p={"x": "a"})
        with self.assertRaisesRegex(InvalidArguments, "'p'.*expected int or Point, got str"):
            bind(f, p="a")

    def test_parameters_of_all_kinds(self):
        def f(a, b=2, /, c=3, *, d, e=5, **rest: int):
            return a, b, c, d, e, rest

        self.assertEqual(bind(f, a=1, d=4), (1, 2, 3, 4, 5, {}))
        self.assertEqual(bind(f, a=1, b=0, c=0, d=0, e=0, z=9), (1, 0, 0, 0, 0, {"z": 9}))
        with self.assertRaisesRegex(InvalidArguments, "missing arguments 'a' .*'d'"):
            bind(f)
        with self.assertRaisesRegex(InvalidArguments, "'z'.*expected int"):
            bind(f, a=1, d=2, z="x")
        self.assertEqual(made(f).describe()["parameters"]["additionalProperties"], {"type": "integer"})
        self.assertEqual(made(f).describe()["parameters"]["required"], ["a", "d"])

    def test_arguments_must_have_names(self):
        with self.assertRaisesRegex(InvalidArguments, "by name"):
            made(lambda: None, name="f").bind([1], None)

    def test_session_parameter(self):
        def by_name(text, session):
            return session

        def by_type(text, where: Session):
            return where

        def by_text(text, where: "Optional[Session]" = None):
            return where

        marker = object()
        for f in (by_name, by_type, by_text):
            tool = made(f)
            self.assertTrue(tool.takes_session)
            self.assertEqual(list(tool.describe()["parameters"]["properties"]), ["text"])
            self.assertIs(tool.bind({"text": 1}, marker)(), marker)
            parameter = "session" if f is by_name else "where"
            with self.assertRaisesRegex(InvalidArguments, "no parameter"):
                tool.bind({"text": 1, parameter: 1}, marker)
        for f in (by_name, by_type):
            with self.assertRaisesRegex(InvalidArguments, "works on a session"):
                made(f).bind({"text": 1}, None)
        self.assertIsNone(made(by_text).bind({"text": 1}, None)())


class RegistryTest(unittest.TestCase):
    def define(self, source: str) -> subprocess.CompletedProcess:
        program = f"from snakepit import tool, tools\n{source}\nprint(sorted(tools.defined()))"
        return subprocess.run([sys.executable, "-c", program], cwd=sys.path[0] or ".", env=_env(), capture_output=True, text=True)

    def test_two_of_one_name(self):
        done = self.define("@tool(name='x')\ndef a(): pass\n@tool(name='x')\ndef b(): pass")
        self.assertIn("two tools are named 'x': __main__.a and __main__.b", done.stderr)

    def test_defined_again(self):
        done = self.define("for _ in range(2):\n    @tool\n    def a(): pass\n@tool\ndef b(): pass")
        self.assertEqual(done.stdout.strip(), "['a', 'b']", done.stderr)


def _env():
    import os

    from tests.fakehost import PYTHON_DIR

    return {**os.environ, "PYTHONPATH": PYTHON_DIR}


if __name__ == "__main__":
    unittest.main()
