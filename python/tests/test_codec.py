"""Values: round trips, the text on the wire, and what cannot be encoded."""

import enum
import json
import math
import random
import sys
import unittest
from collections import OrderedDict, namedtuple
from datetime import date, datetime, time, timedelta, timezone

from snakepit import Unencodable, codec


def round_trip(value):
    text, parts = codec.encode(value)
    return codec.decode(codec.loads(text.decode()), parts)


class Level(enum.IntEnum):
    LOW = 1


class Color(str, enum.Enum):
    RED = "red"


Point = namedtuple("Point", "x y")


class EncodeTest(unittest.TestCase):
    def check_text(self, value, expected: str, parts=()):
        text, got = codec.encode(value)
        self.assertEqual(text.decode(), expected)
        self.assertEqual(got, list(parts))

    def test_plain_values_are_plain_json(self):
        value = {"a": [1, 2.5, True, None, "x\n\"é😀"], "": {}, "n": [[], [{}]]}
        text, parts = codec.encode(value)
        self.assertEqual(json.loads(text), value)
        self.assertEqual(parts, [])

    def test_the_table(self):
        zone = timezone(timedelta(hours=1))
        for value, expected in [
            (math.nan, '{"$float":"NaN"}'),
            (math.inf, '{"$float":"Infinity"}'),
            ([-math.inf], '[{"$float":"-Infinity"}]'),
            (datetime(2026, 1, 31, 12, 30, 0, 1, zone), '{"$datetime":"2026-01-31T12:30:00.000001+01:00"}'),
            (datetime(2026, 1, 31, 12, 30), '{"$datetime":"2026-01-31T12:30:00"}'),
            (date(2026, 1, 31), '{"$date":"2026-01-31"}'),
            (time(12, 30), '{"$time":"12:30:00"}'),
            ((1, (2, 3)), "[1,[2,3]]"),
            ({"$float": "NaN"}, '{"$object":{"$float":"NaN"}}'),
            ({"$bytes": 0}, '{"$object":{"$bytes":0}}'),
            ({"$object": {"$date": 1}}, '{"$object":{"$object":{"$object":{"$date":1}}}}'),
            ({"$other": 1}, '{"$other":1}'),
            ({"$float": 1, "b": 2}, '{"$float":1,"b":2}'),
        ]:
            with self.subTest(value=value):
                self.check_text(value, expected)

    def test_bytes_are_parts(self):
        value = {"a": b"one", "b": [bytearray(b"two"), memoryview(b"three")[1:], b""]}
        self.check_text(
            value,
            '{"a":{"$bytes":0},"b":[{"$bytes":1},{"$bytes":2},{"$bytes":3}]}',
            [b"one", b"two", b"hree", b""],
        )

    def test_a_bytearray_that_changes_later_does_not(self):
        data = bytearray(b"x")
        _, parts = codec.encode(data)
        data[0] = 0
        self.assertEqual(parts, [b"x"])

    def test_dollar_inside_of_texts_is_nothing_special(self):
        for value in ['{"$float": 1}', {"a": '{"$bytes":0}'}, {'{"$x': 1}, ["$float"], {"$": "$"}]:
            with self.subTest(value=value):
                self.assertEqual(round_trip(value), value)

    def test_subclasses(self):
        self.check_text([Level.LOW, Color.RED, Point(1, 2), OrderedDict(a=1)], '[1,"red",[1,2],{"a":1}]')
        self.check_text([Level.LOW, Color.RED, Point(1, 2), b""], '[1,"red",[1,2],{"$bytes":0}]', [b""])

    def test_integers_of_any_size(self):
        for value in [2**53 + 1, -(2**64), 10**5000, {"a": [10**5000 + 1, b""]}]:
            self.assertEqual(round_trip(value), value)

    def test_the_limit_on_digits_stays_for_others(self):
        if not hasattr(sys, "set_int_max_str_digits"):
            self.skipTest("this Python has no such limit")
        before = sys.get_int_max_str_digits()
        self.addCleanup(sys.set_int_max_str_digits, before)
        sys.set_int_max_str_digits(4300)
        self.assertEqual(round_trip(10**5000), 10**5000)
        with self.assertRaises(ValueError):
            int("9" * 5000)

    def test_random_values(self):
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)

        def value(depth):
            leaf = [
                lambda: chance.choice([None, True, False, "", "x", "$float", '{"$', "é\u2028\x00"]),
                lambda: chance.randrange(-(10**30), 10**30),
                lambda: chance.uniform(-1e300, 1e300),
                lambda: chance.choice([math.inf, -math.inf, -0.0]),
                lambda: bytes(chance.randrange(256) for _ in range(chance.randrange(5))),
                lambda: datetime(2000, 1, 1, tzinfo=chance.choice([None, timezone.utc])) + timedelta(
                    microseconds=chance.randrange(10**17)
                ),
                lambda: date.fromordinal(chance.randrange(1, 3000000)),
            ]
            if depth == 0 or chance.random() < 0.3:
                return chance.choice(leaf)()
            if chance.random() < 0.5:
                return [value(depth - 1) for _ in range(chance.randrange(4))]
            names = ["a", "b", "", "$float", "$bytes", "$date", "$object", "$x", "1"]
            return {chance.choice(names): value(depth - 1) for _ in range(chance.randrange(4))}

        for i in range(2000):
            v = value(4)
            with self.subTest(seed=seed, round=i):
                self.assertEqual(round_trip(v), v)


class UnencodableTest(unittest.TestCase):
    def check(self, value, path: str, kind: str, contains: str = ""):
        with self.assertRaises(Unencodable) as caught:
            codec.encode(value)
        self.assertEqual(caught.exception.path, path)
        self.assertEqual(caught.exception.value_type, kind)
        self.assertTrue(str(caught.exception).startswith(path + ": "), caught.exception)
        self.assertIn(contains, str(caught.exception))

    def test_path_and_type(self):
        class ndarray:
            def tolist(self):
                return []

        ndarray.__module__, ndarray.__qualname__ = "numpy", "ndarray"
        self.check({"items": [1, 2, 3, {"when": ndarray()}]}, "result.items[3].when", "numpy.ndarray")
        with self.assertRaises(Unencodable) as caught:
            codec.encode({"items": [1, 2, 3, {"when": ndarray()}]})
        self.assertEqual(
            str(caught.exception),
            "result.items[3].when: numpy.ndarray cannot be encoded; convert it with .tolist()",
        )

    def test_top_level(self):
        self.check(object(), "result", "object")

    def test_keys(self):
        for key in (1, 1.5, True, None, (1,), b"x"):
            with self.subTest(key=key):
                self.check({"a": [{key: 1}]}, "result.a[0]", type(key).__name__, "keys must be str")
        # Also where the fast way has seen nothing: json makes strings of them.
        self.check({"a": {"b": "c"}, "d": [[{"e": {2: 3}}]]}, "result.d[0][0].e", "int")
        self.check([{}, ["{{{{"], ({1: 2},)], "result[2][0]", "int")

    def test_odd_names_in_paths(self):
        self.check({"a b": [object()]}, 'result["a b"][0]', "object")

    def test_hints(self):
        from fractions import Fraction
        from types import SimpleNamespace

        self.check([Fraction(1)], "result[0]", "fractions.Fraction")
        self.check((x for x in [1]), "result", "generator", "list()")
        self.check(SimpleNamespace(), "result", "types.SimpleNamespace")
        self.check({}.keys(), "result", "dict_keys")

    def test_lone_surrogates(self):
        self.check({"a": ["\ud800"]}, "result.a[0]", "str", "surrogate")
        self.check({"a": {"\udfff": 1}}, 'result.a["\\udfff"]', "str", "surrogate")

    def test_circular_and_deep(self):
        circular: list = []
        circular.append(circular)
        self.check(circular, "result", "list", "contains itself")
        deep: list = []
        for _ in range(200000):
            deep = [deep]
        self.check(deep, "result", "list", "nested too deeply")
        while deep:  # taking it apart recursively would overflow, too
            deep = deep[0]

    def test_not_a_time(self):
        class NaT(datetime):
            def isoformat(self, *args):
                return "NaT"

        self.check([NaT(1, 1, 1)], "result[0]", NaT.__module__ + "." + NaT.__qualname__)

    def test_no_bytes_where_there_are_no_parts(self):
        with self.assertRaises(Unencodable) as caught:
            codec.encode_json({"a": b"x"}, "session.vars.data", "cannot be kept here")
        self.assertEqual(str(caught.exception), "session.vars.data.a: bytes cannot be kept here")


class DecodeTest(unittest.TestCase):
    def decode(self, text, parts=()):
        return codec.decode(codec.loads(text), list(parts))

    def test_other_spellings(self):
        utc = timezone.utc
        for text, expected in [
            (' { "$float" : "NaN", "x": 1 } ', {"$float": "NaN", "x": 1}),
            ('{"\\u0024bytes": 0}', b"x"),
            ('{"$datetime": "2026-01-31T12:30:00Z"}', datetime(2026, 1, 31, 12, 30, tzinfo=utc)),
            ('{"$datetime": "2026-01-31T12:30:00.5Z"}', datetime(2026, 1, 31, 12, 30, 0, 500000, utc)),
            ('{"$datetime": "2026-01-31T12:30:00.123456789"}', datetime(2026, 1, 31, 12, 30, 0, 123456)),
            (
                '{"$datetime": "2026-01-31T12:30:00-05:30"}',
                datetime(2026, 1, 31, 12, 30, tzinfo=timezone(-timedelta(hours=5, minutes=30))),
            ),
            ('{"$time": "12:30"}', time(12, 30)),
            ('{"$time": "12:30:00.000001Z"}', time(12, 30, 0, 1, utc)),
            ('{"$date": "2026-01-31"}', date(2026, 1, 31)),
        ]:
            with self.subTest(text=text):
                self.assertEqual(self.decode(text, [b"x"]), expected)
                self.assertEqual(codec.may_be_special(text), True)

    def test_malformed(self):
        for text in [
            '{"$float": "nan"}', '{"$float": 1.5}', '{"$float": []}', '{"$bytes": 1}', '{"$bytes": -1}',
            '{"$bytes": "0"}', '{"$bytes": true}', '{"$bytes": null}', '{"$datetime": "yesterday"}',
            '{"$datetime": 1}', '{"$datetime": "2026-02-31T00:00:00"}', '{"$datetime": "2026-01-31T25:00:00"}',
            '{"$date": "2026-1-1"}', '{"$date": null}', '{"$time": "12:60"}', '{"$time": {}}', '{"$object": 1}',
        ]:  # fmt: skip
            with self.subTest(text=text), self.assertRaises(codec.DecodeError):
                self.decode(text, [b"x"])

    def test_constants_are_not_json(self):
        for text in ["NaN", "[Infinity]", '{"a": -Infinity}']:
            with self.subTest(text=text), self.assertRaises(ValueError):
                codec.loads(text)

    def test_many_digits(self):
        self.assertEqual(codec.loads("[" + "9" * 5000 + "]"), [10**5000 - 1])


if __name__ == "__main__":
    unittest.main()
