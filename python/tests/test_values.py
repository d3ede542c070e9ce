"""Ordinary Python values: what each becomes on its way out, and comes in as."""

import dataclasses
import enum
import re
import typing
import unittest
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath

import snakepit
from snakepit import InvalidArguments, Unencodable, codec, hints, schema, testing, texts, tool, values

UUID = uuid.UUID("123e4567-e89b-12d3-a456-426614174000")


class Color(enum.Enum):
    RED = "red"
    BLUE = 2
    PAIR = (1, 2)
    DAY = date(2026, 1, 31)


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Pair(typing.NamedTuple):
    x: float
    y: Decimal = Decimal(0)


@dataclasses.dataclass(frozen=True)
class Item:
    name: str
    price: Decimal = Decimal("1.50")
    tags: typing.FrozenSet[str] = frozenset()
    size: int = dataclasses.field(init=False, default=7)


@dataclasses.dataclass
class Order:
    id: uuid.UUID
    items: typing.List[Item]
    due: typing.Optional[date] = None


class Options(typing.TypedDict, total=False):
    color: Color
    pairs: typing.List[Pair]


def text(value) -> str:
    encoded, parts = codec.encode(value)
    assert parts == []
    return encoded.decode()


def check(hint, value):
    """What a tool gets for a value of the wire."""
    return schema.compile_hint(hint, globals()).check(value)


class OutTest(unittest.TestCase):
    def test_the_table(self):
        for value, expected in [
            (Color.RED, '"red"'), (Color.BLUE, "2"), (Color.PAIR, "[1,2]"), (Color.DAY, '{"$date":"2026-01-31"}'),
            (Access.READ | Access.WRITE, "3"), (UUID, f'"{UUID}"'), (Decimal("19.90"), '"19.90"'),
            (Decimal("NaN"), '"NaN"'), (Path("/a/b"), '"/a/b"'), (PurePosixPath("c"), '"c"'), (set(), "[]"),
            ({3, 1, 20}, "[1,3,20]"), (frozenset("ba"), '["a","b"]'), ({Decimal(10), Decimal(9)}, '["9","10"]'),
            ({1, "a", None}, '["a",1,null]'), ({frozenset("b"), frozenset("a")}, '[["a"],["b"]]'),
            ({Color.RED, Color.BLUE}, '["red",2]'), (timedelta(hours=1), '"PT1H"'),
            (Pair(1.0, Decimal(2)), '[1.0,"2"]'),
            (Item("a", tags=frozenset("x")), '{"name":"a","price":"1.50","tags":["x"],"size":7}'),
            ({"o": [Order(UUID, [], date(2026, 1, 31))]},
             '{"o":[{"id":"%s","items":[],"due":{"$date":"2026-01-31"}}]}' % UUID),
        ]:  # fmt: skip
            with self.subTest(value=value):
                self.assertEqual(text(value), expected)

    def test_in_and_out_again(self):
        order = Order(UUID, [Item("a", Decimal("0.10"), frozenset(("x", "y"))), Item("b")], date(2026, 1, 31))
        options = {"color": Color.PAIR, "pairs": [Pair(1.5), Pair(2.0, Decimal("3"))]}
        for hint, value in [
            (Order, order), (Options, options), (typing.Dict[str, typing.Set[Color]], {"a": {Color.RED, Color.BLUE}}),
            (typing.Optional[Pair], Pair(1.0)), (typing.Tuple[uuid.UUID, Path], (UUID, Path("x"))),
            (Access, Access.READ | Access.WRITE), (Access, Access(0)),
            (typing.Union[int, timedelta], timedelta(days=-3, microseconds=5)),
        ]:  # fmt: skip
            with self.subTest(hint=hint):
                encoded, parts = codec.encode(value)
                self.assertEqual(check(hint, codec.decode(codec.loads(encoded.decode()), parts)), value)

    def test_the_order_of_a_set_is_the_same_in_every_process(self):
        # Texts have other hashes, and so another order, in each.
        import os
        import subprocess
        import sys

        code = "from snakepit import codec; print(codec.encode({'a', 'b', 'c', 'd', None, ('e',)})[0].decode())"
        outputs = {
            subprocess.run(
                [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, text=True,
                stdout=subprocess.PIPE, check=True,
            ).stdout
            for seed in ("1", "2", "3")
        }  # fmt: skip
        self.assertEqual(outputs, {'["a","b","c","d",["e"],null]\n'})

    def test_paths_lead_into_them(self):
        for value, path in [
            (Order(UUID, [Item("a", object())]), "result.items[0].price"),
            ([Pair(1.0, {"a b": object()})], 'result[0][1]["a b"]'),
        ]:
            with self.assertRaises(Unencodable) as caught:
                codec.encode(value)
            self.assertEqual((caught.exception.path, caught.exception.value_type), (path, "object"))


class InTest(unittest.TestCase):
    def test_texts(self):
        utc = timezone.utc
        for hint, value, expected in [
            (datetime, "2026-01-31T12:30:00Z", datetime(2026, 1, 31, 12, 30, tzinfo=utc)),
            (datetime, "2026-01-31T12:30", datetime(2026, 1, 31, 12, 30)),
            (datetime, datetime(2026, 1, 31), datetime(2026, 1, 31)),
            (date, "2026-01-31", date(2026, 1, 31)), (date, date(2026, 1, 31), date(2026, 1, 31)),
            (time, "12:30:00.5+00:00", time(12, 30, 0, 500000, utc)),
            (typing.Union[str, date], "2026-01-31", "2026-01-31"),
            (typing.Union[date, str], "2026-01-31", date(2026, 1, 31)), (typing.Union[date, str], "x", "x"),
            (timedelta, "P1DT2H30M0.5S", timedelta(1, 2 * 3600 + 1800, 500000)), (timedelta, "P2W", timedelta(14)),
            (timedelta, "-PT1S", timedelta(seconds=-1)), (timedelta, 1.5, timedelta(seconds=1.5)),
            (uuid.UUID, str(UUID).upper(), UUID), (Path, "a/b", Path("a/b")), (PurePosixPath, "", PurePosixPath()),
            (Decimal, "19.90", Decimal("19.90")), (Decimal, 0.1, Decimal("0.1")), (Decimal, 10**30, Decimal(10**30)),
            (Decimal, "-Infinity", Decimal("-Infinity")),
            (Color, "red", Color.RED), (Color, [1, 2], Color.PAIR), (Color, date(2026, 1, 31), Color.DAY),
            (typing.Literal[Color.RED, 5], "red", Color.RED), (Access, 3, Access.READ | Access.WRITE),
            (Pair, [1], Pair(1.0)), (Pair, [1, "2"], Pair(1.0, Decimal(2))),
            (Item, {"name": "a", "size": 9}, Item("a")),
        ]:  # fmt: skip
            with self.subTest(hint=hint, value=value):
                got = check(hint, value)
                self.assertEqual((type(got), got), (type(expected), expected))

    def test_refused(self):
        for hint, value, problem in [
            (datetime, "yesterday", r'expected datetime like "2026-01-31T12:30:00\+01:00", got str "yesterday"'),
            (datetime, "2026-01-31", "expected datetime"), (datetime, "2026-02-31T00:00:00", "expected datetime"),
            (datetime, date(2026, 1, 31), "expected datetime"), (date, datetime(2026, 1, 31), "expected date"),
            (date, "2026-1-31", "expected date"), (date, "2026-01-31T00:00:00", "expected date"), (date, 5, "got int"),
            (date, "٢٠٢٦-01-31", "expected date"), (time, "25:00", "expected time"),
            (timedelta, "P1Y", "expected timedelta"), (timedelta, "P", "expected timedelta"),
            (timedelta, "PT", "expected timedelta"), (timedelta, "P1DT", "expected timedelta"),
            (timedelta, 1e300, "expected timedelta"), (timedelta, float("nan"), "expected timedelta"),
            (timedelta, True, "expected timedelta"), (timedelta, "P99999999999999D", "expected timedelta"),
            (uuid.UUID, "{" + str(UUID) + "}", "expected UUID"), (uuid.UUID, UUID.hex, "expected UUID"),
            (Decimal, "1_0", "expected Decimal"), (Decimal, " 1", "expected Decimal"), (Decimal, True, "expected Decimal"),
            (Path, 5, "expected path"), (Color, [1, 3], "expected one of 'red', 2"), (Color, True, "expected one of"),
            (Access, 4, "0 to 3"), (Access, -1, "0 to 3"), (Access, 1.0, "expected int"),
            (Pair, [], "expected Pair, an array of x, y"), (Pair, {"x": 1}, "expected Pair"), (Pair, [1, 2, 3], "Pair"),
            (Pair, ["a"], "expected float"), (Item, {"size": 7}, "'name' of Item is missing"),
        ]:  # fmt: skip
            with self.subTest(hint=hint, value=value), self.assertRaises(hints.Mismatch) as caught:
                check(hint, value)
            self.assertRegex(caught.exception.problem(), problem)

    def test_decimal_as_text(self):
        """What the schema shows is taken, and its pattern is the check, for validators that know digits of other scripts too."""
        hint = schema.compile_hint(Decimal, {})
        text = hint.schema["anyOf"][0]
        self.assertEqual(hint.check(text["examples"][0]), Decimal("19.90"))
        for value, fits in (("19.90", True), ("-1.e5", True), ("NaN", True), ("", False), ("\u0661", False), ("1_0", False)):
            self.assertEqual(re.search(text["pattern"], value) is not None, fits, value)
            if not fits:
                with self.assertRaises(hints.Mismatch):
                    hint.check(value)

    def test_hints_that_cannot_be(self):
        class Odd(enum.Enum):
            A = object()

        class Raw(enum.Enum):
            A = b"x"

        class Tree(typing.NamedTuple):
            inner: typing.List["Tree"]

        globals()["Tree"] = Tree
        self.addCleanup(globals().pop, "Tree")
        for hint, problem in [
            (Odd, "a choice cannot be given by callers: value: object"), (Raw, "is bytes"), (Tree, "contains itself"),
            (complex, "docs/python.md"),
        ]:  # fmt: skip
            with self.subTest(hint=hint), self.assertRaisesRegex(snakepit.DefinitionError, problem):
                check(hint, None)

    def test_durations_there_and_back(self):
        for delta, expected in [
            (timedelta(), "PT0S"), (timedelta(1), "P1D"), (timedelta(1, 5), "P1DT5S"), (timedelta(0, 3605), "PT1H0M5S"),
            (timedelta(0, 60), "PT1M"), (timedelta(0, 3600, 1), "PT1H0M0.000001S"), (timedelta(-1), "-P1D"),
            (timedelta(microseconds=-1), "-PT0.000001S"), (timedelta.max, "P999999999DT23H59M59.999999S"),
            (timedelta.min, "-P999999999D"),
        ]:  # fmt: skip
            with self.subTest(delta=delta):
                self.assertEqual(texts.format_timedelta(delta), expected)
                self.assertEqual(texts.parse_timedelta(expected), delta)


class Money:
    def __init__(self, amount):
        self.amount = amount


class Euro(Money):
    pass


@tool
def pay(price, session=None):
    if session is not None:
        session.vars["price"] = price
    return type(price).__name__


@tool
def money(session=None):
    if session is not None:
        session.vars["m"] = Euro(5)
    return {"m": [Money(1)]}


class EncoderTest(unittest.TestCase):
    def setUp(self):
        before = dict(values._registered)

        def restore():
            values._registered.clear()
            values._registered.update(before)
            values._known.clear()

        self.addCleanup(restore)

    def test_for_a_class(self):
        with self.assertRaisesRegex(Unencodable, r"^result.m\[0\]: tests.test_values.Money cannot be encoded$"):
            testing.call(money)

        @snakepit.encoder(Money)
        def of_money(value):
            return {"amount": Decimal(value.amount)}

        self.assertEqual(testing.call(money), {"m": [{"amount": "1"}]})
        session = testing.Session()
        testing.call(money, session=session)
        self.assertEqual(session.vars, {"m": {"amount": "5"}})

        @snakepit.encoder(Euro)
        def of_euro(value):
            return "euro"

        self.assertEqual(text([Money(1), Euro(1)]), '[{"amount":"1"},"euro"]')

    def test_before_the_rules_and_after_them(self):
        snakepit.encoder(Decimal)(float)
        snakepit.encoder(object)(lambda value: f"<{type(value).__name__}>")
        day = date(2026, 1, 31)
        self.assertEqual(
            text([Decimal("1.5"), UUID, Money(1), {1}, day, Item("a", Decimal(2))]),
            f'[1.5,"{UUID}","<Money>",[1],{{"$date":"2026-01-31"}},{{"name":"a","price":2.0,"tags":[],"size":7}}]',
        )

    def test_one_that_fails(self):
        @snakepit.encoder(Money)
        def of_money(value):
            raise KeyError("no rate")

        with self.assertRaisesRegex(Unencodable, "^result: tests.test_values.Money cannot be encoded: KeyError: 'no rate'$") as caught:
            codec.encode(Money(1))
        self.assertIsInstance(caught.exception.__cause__, KeyError)
        snakepit.encoder(Money)(lambda value: value)
        with self.assertRaisesRegex(Unencodable, "contains itself"):
            codec.encode(Money(1))
        with self.assertRaisesRegex(TypeError, r"@encoder\(Money\)"):
            snakepit.encoder(lambda value: value)

    def test_types_without_end_are_not_kept(self):
        for i in range(3 * values._KNOWN_LIMIT):
            values.way_of(type(f"T{i}", (), {}))
        self.assertLessEqual(len(values._known), values._KNOWN_LIMIT)


class TestingTest(unittest.TestCase):
    """testing.call takes what a caller may send, and passes on what arrives."""

    def test_what_arrives(self):
        for value, kind in [(Item("a"), "dict"), (UUID, "str"), ({1}, "list"), (Pair(1.0), "list"), (Color.RED, "str")]:
            self.assertEqual(testing.call(pay, price=value), kind)
        with self.assertRaisesRegex(Unencodable, "^argument 'price'"):
            testing.call(pay, price=Money(1))

    def test_a_wrong_text(self):
        @tool
        def at(when: datetime):
            return when

        self.addCleanup(snakepit.tools._definitions.pop)
        self.assertEqual(testing.call(at, when="2026-01-31T12:30:00Z"), datetime(2026, 1, 31, 12, 30, tzinfo=timezone.utc))
        with self.assertRaisesRegex(InvalidArguments, "argument 'when' of tool 'at': expected datetime like"):
            testing.call(at, when="tomorrow")

    def test_variables_hold_what_json_can(self):
        session = testing.Session()
        testing.call(pay, session=session, price=UUID)
        self.assertEqual(session.vars, {"price": str(UUID)})


if __name__ == "__main__":
    unittest.main()
