"""Values of numpy, pydantic and pandas, with the real libraries.

Run by itself (python3 -m unittest tests.libraries), with a Python that has
them: the other tests run without.
"""

import datetime
import decimal
import enum
import math
import subprocess
import sys
import typing
import unittest

import numpy
import numpy.typing
import pandas
import pydantic

import snakepit
from snakepit import InvalidArguments, Unencodable, codec, hints, schema, testing, tool
from tests.fakehost import PYTHON_DIR

NDArray = numpy.typing.NDArray


def text(value) -> str:
    encoded, parts = codec.encode(value)
    assert parts == []
    return encoded.decode()


def check(hint, value):
    return schema.compile_hint(hint, globals()).check(value)


class NumpyTest(unittest.TestCase):
    def test_out(self):
        records = numpy.array([(1, "a"), (2, "b")], dtype=[("n", "i4"), ("s", "U1")])
        for value, expected in [
            (numpy.int64(5), "5"), (numpy.uint8(255), "255"), (numpy.float32(0.5), "0.5"), (numpy.float64(0.1), "0.1"),
            (numpy.float16(2), "2.0"), (numpy.longdouble(2), "2.0"), (numpy.bool_(True), "true"), (numpy.str_("x"), '"x"'),
            (numpy.float32("nan"), '{"$float":"NaN"}'), (numpy.float64("-inf"), '{"$float":"-Infinity"}'),
            (numpy.arange(3), "[0,1,2]"), (numpy.array([[1.5, 2], [3, 4]]), "[[1.5,2.0],[3.0,4.0]]"),
            (numpy.array([1, math.nan], dtype="f4"), '[1.0,{"$float":"NaN"}]'), (numpy.zeros((0, 2)), "[]"),
            (numpy.array(7), "7"), (numpy.array(["a", "b"]), '["a","b"]'), (numpy.array([True]), "[true]"),
            (numpy.array([1, "a", None], dtype=object), '[1,"a",null]'), (records, '[[1,"a"],[2,"b"]]'),
            (numpy.array([decimal.Decimal(1)]), '["1"]'), (numpy.ma.array([1, 2], mask=[0, 1]), "[1,null]"),
            (numpy.datetime64("2026-01-31T12:30:00.123456789"), '{"$datetime":"2026-01-31T12:30:00.123456"}'),
            (numpy.datetime64("2026-01-31"), '{"$datetime":"2026-01-31T00:00:00"}'),
            (numpy.array(["2026-01-31"], dtype="M8[ns]"), '[{"$datetime":"2026-01-31T00:00:00"}]'),
            (numpy.timedelta64(90, "m"), '"PT1H30M"'), (numpy.array([1, 2], dtype="m8[s]"), '["PT1S","PT2S"]'),
            ({"a": [numpy.int8(-1), {"b": numpy.ones(2)}], "c": b""[:0].decode()}, '{"a":[-1,{"b":[1.0,1.0]}],"c":""}'),
            ({numpy.int64(2), numpy.int64(1)}, "[1,2]"),
        ]:  # fmt: skip
            with self.subTest(value=value):
                self.assertEqual(text(value), expected)

    def test_what_has_no_form(self):
        for value, path, problem in [
            (numpy.complex128(1j), "result", "complex128 has no form in JSON"),
            ({"a": numpy.array([1j])}, "result.a", "complex128"),
            ([numpy.datetime64("NaT")], "result[0]", "NaT"), (numpy.timedelta64("NaT"), "result", "NaT"),
            (numpy.array([1, object()], dtype=object), "result[1]", "object cannot be encoded"),
            (numpy.datetime64("20000-01-01"), "result", "years 1 to 9999"),
            (numpy.datetime64("0000-12-31"), "result", "years 1 to 9999"),
        ]:  # fmt: skip
            with self.subTest(value=value), self.assertRaises(Unencodable) as caught:
                codec.encode(value)
            self.assertEqual(caught.exception.path, path)
            self.assertIn(problem, str(caught.exception))
        for year in ("0001-01-01", "9999-12-31T23:59:59.999999"):
            self.assertIn(year, text(numpy.datetime64(year)))

    def test_in(self):
        for hint, value, expected in [
            (numpy.ndarray, [[1, 2], [3, 4]], numpy.array([[1, 2], [3, 4]])),
            (NDArray[numpy.float64], [1, 2.5], numpy.array([1, 2.5])), (NDArray[numpy.float32], [1], numpy.ones(1, "f4")),
            (NDArray[numpy.int8], [], numpy.array([], "i1")), (NDArray[numpy.float64], [[]], numpy.zeros((1, 0))),
            (NDArray[numpy.bool_], [True], numpy.array([True])), (NDArray[numpy.str_], ["a"], numpy.array(["a"])),
            (NDArray[typing.Any], ["a"], numpy.array(["a"])), (NDArray[numpy.float64], [math.nan], numpy.array([math.nan])),
            (NDArray[numpy.uint8], [255], numpy.array([255], "u1")),
        ]:  # fmt: skip
            with self.subTest(hint=hint, value=value):
                got = check(hint, value)
                self.assertEqual((got.dtype.kind, got.shape), (expected.dtype.kind, expected.shape))
                numpy.testing.assert_array_equal(got, expected)
        self.assertEqual(check(NDArray[numpy.float32], [1]).dtype, numpy.float32)
        for hint, value, expected in [
            (numpy.float64, 1, numpy.float64(1)), (numpy.float32, 0.5, numpy.float32(0.5)), (numpy.int16, -5, numpy.int16(-5)),
            (numpy.bool_, True, numpy.bool_(True)), (numpy.str_, "x", numpy.str_("x")),
            (numpy.datetime64, "2026-01-31T00:00:00", numpy.datetime64("2026-01-31T00:00:00")),
            (numpy.timedelta64, "PT1S", numpy.timedelta64(1, "s")),
        ]:  # fmt: skip
            with self.subTest(hint=hint, value=value):
                got = check(hint, value)
                self.assertIs(type(got), hint)
                self.assertEqual(got, expected)

    def test_refused(self):
        for hint, value, problem in [
            (numpy.ndarray, 5, "expected array of numbers, got int 5"), (numpy.ndarray, [[1], [2, 3]], "length"),
            (numpy.ndarray, [{"a": 1}], "other values"), (numpy.ndarray, [datetime.date(2026, 1, 31)], "other values"), (numpy.ndarray, [None], "other values"),
            (NDArray[numpy.int64], [1.5], "expected array of int64, got one of float64"),
            (NDArray[numpy.int8], [300], "outside of its range"), (NDArray[numpy.uint8], [-1], "outside of its range"),
            (NDArray[numpy.float64], ["1"], "expected array of float64"), (NDArray[numpy.int64], [10**30], "array of int64"),
            (numpy.int8, 200, "-128 to 127, got 200"), (numpy.int8, 1.0, "expected int"), (numpy.float32, "x", "expected float"),
            (numpy.datetime64, "2026-01-31T00:00:00Z", "no offset"),
        ]:  # fmt: skip
            with self.subTest(hint=hint, value=value), self.assertRaises(hints.Mismatch) as caught:
                check(hint, value)
            self.assertIn(problem, caught.exception.problem())
        for hint in (numpy.complex128, NDArray[numpy.complex128], NDArray[numpy.datetime64]):
            with self.assertRaisesRegex(snakepit.DefinitionError, "that arguments can have"):
                check(hint, 1)

    def test_schemas(self):
        compile = schema.compile_hint
        self.assertEqual(compile(numpy.int8, {}).schema, {"type": "integer", "minimum": -128, "maximum": 127})
        self.assertEqual(compile(NDArray[numpy.int8], {}).schema, {"type": "array"})
        moment = compile(numpy.datetime64, {})
        self.assertEqual(moment.check(moment.schema["examples"][0]), numpy.datetime64("2026-01-31T12:30:00"))
        self.assertEqual(compile(typing.Optional[numpy.float32], {}).schema, {"anyOf": [{"type": "number"}, {"type": "null"}]})


class Address(pydantic.BaseModel):
    street: str
    since: datetime.date = datetime.date(2026, 1, 31)


class Color(enum.Enum):
    RED = "red"


class Person(pydantic.BaseModel):
    name: str = pydantic.Field(alias="fullName")
    age: int = pydantic.Field(0, ge=0)
    color: Color = Color.RED
    addresses: typing.List[Address] = []
    price: decimal.Decimal = decimal.Decimal("1.50")
    at: typing.Optional[datetime.datetime] = None


@tool
def move(person: Person, street: str):
    person.addresses.append(Address(street=street))
    return person


class PydanticTest(unittest.TestCase):
    def test_there_and_back(self):
        person = Person(fullName="Ada", addresses=[Address(street="a")])
        got = testing.call(move, person=person, street="b")
        self.assertEqual(got["fullName"], "Ada")
        self.assertEqual(got["color"], "red")
        self.assertEqual(
            got["addresses"], [{"street": "a", "since": "2026-01-31"}, {"street": "b", "since": "2026-01-31"}]
        )
        again = check(Person, got)
        self.assertIs(type(again), Person)
        self.assertEqual((again.name, again.color, len(again.addresses)), ("Ada", Color.RED, 2))
        # A time in the protocol's own form is taken as well.
        when = datetime.datetime(2026, 1, 31, tzinfo=datetime.timezone.utc)
        self.assertEqual(check(Person, {"fullName": "x", "at": when}).at, when)

    def test_refused(self):
        for value, path, problem in [
            ({"fullName": "x", "age": -1}, "person.age", "greater than or equal to 0"),
            ({"fullName": "x", "addresses": [{"street": "a"}, {}]}, "person.addresses[1].street", "required"),
            ({"age": "x"}, "person.fullName", "and 1 more"),
        ]:  # fmt: skip
            with self.subTest(value=value), self.assertRaises(InvalidArguments) as caught:
                testing.call(move, person=value, street="a")
            self.assertIn(f"argument {path!r} of tool 'move'", str(caught.exception))
            self.assertIn(problem, str(caught.exception))
            self.assertEqual(caught.exception.parameter, "person")

    def test_schema(self):
        described = move.__snakepit_tool__.describe()["parameters"]
        self.assertIn("Address", described["$defs"])
        person = described["properties"]["person"]
        self.assertNotIn("$defs", person)
        self.assertNotIn("definitions", person)
        self.assertEqual(person["properties"]["addresses"]["items"], {"$ref": "#/$defs/Address"})
        self.assertIn("fullName", person["properties"])

    def test_definitions_of_one_name(self):
        class Address(pydantic.BaseModel):
            zip: int

        class Other(pydantic.BaseModel):
            address: Address

        @tool(name="two")
        def two(person: Person, other):
            pass

        self.addCleanup(snakepit.tools._definitions.pop)
        two.__annotations__["other"] = Other
        described = two.__snakepit_tool__.describe()["parameters"]
        references = str(described["properties"]["other"])
        self.assertIn("#/$defs/Address-2", references)
        self.assertIn("zip", described["$defs"]["Address-2"]["properties"])
        self.assertIn("street", described["$defs"]["Address"]["properties"])


class PandasTest(unittest.TestCase):
    def test_a_frame_says_what_to_do(self):
        frame = pandas.DataFrame({"n": [1, 2], "when": pandas.to_datetime(["2026-01-31", "2026-02-01"])})
        for value, problem in [
            ({"frame": frame}, 'result.frame: pandas.core.frame.DataFrame cannot be encoded; convert it with .to_dict(orient="records")'),
            ([frame["n"]], "result[0]: pandas.core.series.Series cannot be encoded; convert it with .tolist()"),
        ]:  # fmt: skip
            with self.assertRaises(Unencodable) as caught:
                codec.encode(value)
            self.assertEqual(str(caught.exception), problem)
        records = frame.to_dict(orient="records")
        self.assertEqual(text(records[:1]), '[{"n":1,"when":{"$datetime":"2026-01-31T00:00:00"}}]')
        self.assertEqual(text([frame["n"].tolist(), frame["n"].sum()]), "[[1,2],3]")
        for nothing in (pandas.NaT, pandas.NA):
            with self.assertRaises(Unencodable):
                codec.encode(nothing)


class ImportTest(unittest.TestCase):
    def test_the_sdk_imports_neither(self):
        code = """if True:
            import sys, enum, uuid, decimal
            import snakepit, snakepit.runtime, snakepit.testing
            from snakepit import codec, schema
            codec.encode([{1}, uuid.UUID(int=1), decimal.Decimal(1)])
            schema.compile_hint(uuid.UUID, {})
            assert not {"numpy", "pydantic", "pandas"} & set(sys.modules), sorted(sys.modules)
        """
        subprocess.run([sys.executable, "-c", code], cwd=PYTHON_DIR, check=True)


if __name__ == "__main__":
    unittest.main()
