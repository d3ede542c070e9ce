"""snakepit.testing: tools under test fail where they would fail in production."""

import asyncio
import io
import math
import unittest

import snakepit
from snakepit import HostError, InvalidArguments, ReadOnlyError, Session, Unencodable, testing, tool


@tool
def remember(text: str, session) -> dict:
    notes = session.vars.setdefault("notes", [])
    notes.append(text)
    return {"count": len(notes)}


@tool
def forgetful(session):
    session.vars["x"] = 1
    session.programs["p"] = b"1"
    raise ValueError("no")


@tool(readonly=True)
def peek(session, name: str):
    session.vars[name] = 1


@tool
def give(code: str, session: Session = None):
    return eval(code, {**globals(), "session": session})


@tool
def countdown(n: int, session: Session = None):
    try:
        while n:
            if session:
                session.vars["n"] = n
            yield n
            n -= 1
    finally:
        CLOSED.append("countdown")


@tool
async def later(n: float) -> float:
    await asyncio.sleep(0)
    return n


@tool
async def slowly(n: int):
    try:
        for i in range(n):
            await asyncio.sleep(0)
            yield (i,)
    finally:
        CLOSED.append("slowly")


@tool
async def adds(session=None):
    return await snakepit.host.call_async("add", a=1, b=2) + snakepit.host.call("add", a=3, b=4)


CLOSED: list = []


class CallTest(unittest.TestCase):
    def test_a_session(self):
        session = testing.Session(vars={"notes": ["a"]}, labels={"team": "x"}, metadata={"m": "y"}, id="s9")
        self.assertEqual(testing.call(remember, session=session, text="b"), {"count": 2})
        self.assertEqual(session.vars, {"notes": ["a", "b"]})
        self.assertEqual(session.last_change, {"set": {"notes": ["a", "b"]}, "unset": []})
        self.assertEqual(
            testing.call(give, session=session, code="[session.id, dict(session.labels), dict(session.metadata)]"),
            ["s9", {"team": "x"}, {"m": "y"}],
        )
        self.assertIsNone(session.last_change)
        testing.call(give, session=session, code="session.vars.clear()")
        self.assertEqual((session.vars, session.last_change), ({}, {"set": {}, "unset": ["notes"]}))

    def test_a_tool_that_raises_changes_nothing(self):
        session = testing.Session()
        with self.assertRaisesRegex(ValueError, "no"):
            testing.call(forgetful, session=session)
        self.assertEqual((session.vars, session.programs), ({}, {}))

    def test_results_are_what_a_caller_gets(self):
        for code, expected in [
            ("(1, (2,))", [1, [2]]), ("bytearray(b'x')", b"x"), ("{'$bytes': 1}", {"$bytes": 1}), ("10**5000", 10**5000),
            ("math.inf", math.inf),
        ]:  # fmt: skip
            self.assertEqual(testing.call(give, code=code), expected)

    def test_what_would_fail(self):
        session = testing.Session()
        with self.assertRaisesRegex(InvalidArguments, "'text'.*expected str, got int"):
            testing.call(remember, session=session, text=1)
        with self.assertRaisesRegex(InvalidArguments, "works on a session"):
            testing.call(remember, text="x")
        with self.assertRaisesRegex(InvalidArguments, "missing argument 'text'"):
            testing.call(remember, session=session)
        with self.assertRaisesRegex(Unencodable, r"^result\[0\]: object"):
            testing.call(give, code="[object()]")
        with self.assertRaisesRegex(Unencodable, "^session.vars.x: bytes"):
            testing.call(give, session=session, code="session.vars.update(x=b'')")
        with self.assertRaisesRegex(Unencodable, "^argument 'code'"):
            testing.call(give, code=object())
        with self.assertRaisesRegex(Unencodable, "^session.vars.bad"):
            testing.call(remember, session=testing.Session(vars={"bad": object()}), text="x")
        with self.assertRaisesRegex(TypeError, "not a tool"):
            testing.call(len)
        with self.assertRaisesRegex(TypeError, "testing.Session"):
            testing.call(remember, session={}, text="x")
        self.assertEqual(session.vars, {})

    def test_readonly(self):
        with self.assertRaises(ReadOnlyError):
            testing.call(peek, session=testing.Session(), name="x")
        with self.assertRaises(ReadOnlyError):
            testing.call(remember, session=testing.Session(readonly=True), text="x")
        with self.assertRaisesRegex(ReadOnlyError, "changed inside"):
            testing.call(remember, session=testing.Session({"notes": []}, readonly=True), text="x")

    def test_programs(self):
        session = testing.Session(programs={"old": b"0123456789"})
        code = "[session.programs['old'], session.programs.info('old').size, list(session.programs), 'x' in session.programs]"
        self.assertEqual(testing.call(give, session=session, code=code), [b"0123456789", 10, ["old"], False])
        testing.call(put, session=session)
        self.assertEqual(session.programs, {"a": b"aa", "b": b"b" * 2500000})

    def test_local(self):
        session = testing.Session()
        testing.call(give, session=session, code="session.local.update(x=io)")
        self.assertEqual(session.local, {"x": io})
        self.assertTrue(testing.call(give, session=session, code="session.local['x'] is io"))

    def test_host_tools(self):
        add = {"add": lambda a, b: a + b}
        self.assertEqual(testing.call(adds, host_tools=add), 10)
        self.assertEqual(testing.call(give, host_tools=add, code="snakepit.host.call('add', a=1, b=2)"), 3)
        with self.assertRaisesRegex(HostError, "no host tool 'add'") as caught:
            testing.call(adds)
        self.assertEqual(caught.exception.reason, "no_tool")
        with self.assertRaisesRegex(HostError, "missing|positional"):
            testing.call(give, host_tools=add, code="snakepit.host.call('add')")
        with self.assertRaisesRegex(Unencodable, "^args.a: bytes"):
            testing.call(give, host_tools=add, code="snakepit.host.call('add', a=b'')")

    def test_current_and_event(self):
        info = "[snakepit.current().tool, snakepit.current().session_id, snakepit.current().remaining()]"
        self.assertEqual(testing.call(give, session=testing.Session(id="q"), code=info), ["give", "q", None])
        self.assertIsNone(testing.call(give, code="snakepit.event('x', {'n': 1}, {'k': 'v'})"))
        with self.assertRaises(TypeError):
            testing.call(give, code="snakepit.event('x', {'n': '1'})")
        with self.assertRaises(snakepit.Error):
            snakepit.current()
        with self.assertRaises(snakepit.Error):
            snakepit.event("x")
        with self.assertRaises(snakepit.Error):
            snakepit.host.call("x")

    def test_async(self):
        self.assertEqual(testing.call(later, n=1), 1.0)

        async def inside():
            return testing.call(later, n=1), testing.call(slowly, n=2)

        self.assertEqual(asyncio.run(inside()), (1.0, [[0], [1]]))


@tool
def put(session):
    session.programs["a"] = b"a"
    session.programs.put("a", bytearray(b"aa"), content_type="text/plain")
    assert session.programs.info("a").content_type == "text/plain"
    with session.programs.write("b") as f:
        for size in (1, 1048575, 1, 1451423):
            assert f.write(b"b" * size) == size
    assert f.info.size == 2500000
    try:
        with session.programs.write("c") as f:
            f.write(b"c")
            raise KeyError
    except KeyError:
        pass
    assert "c" not in session.programs
    reader = session.programs.open("b")
    reader.seek(-3, io.SEEK_END)
    assert (reader.tell(), reader.read()) == (2499997, b"bbb")
    del session.programs["old"]
    for name in ("old", "never"):
        for use in (session.programs.__getitem__, session.programs.open, session.programs.info, session.programs.__delitem__):
            try:
                use(name)
            except KeyError:
                continue
            raise AssertionError(use)


class StreamTest(unittest.TestCase):
    def setUp(self):
        CLOSED.clear()

    def test_list(self):
        session = testing.Session()
        self.assertEqual(testing.call(countdown, session=session, n=3), [3, 2, 1])
        self.assertEqual(session.vars, {"n": 1})
        self.assertEqual(testing.call(slowly, n=2), [[0], [1]])
        self.assertEqual(CLOSED, ["countdown", "slowly"])

    def test_closed_early(self):
        session = testing.Session()
        chunks = testing.stream(countdown, session=session, n=3)
        self.assertEqual(next(chunks), 3)
        self.assertEqual(CLOSED, [])
        chunks.close()
        self.assertEqual((CLOSED, session.vars), (["countdown"], {}))
        chunks = testing.stream(slowly, n=3)
        self.assertEqual(next(chunks), [0])
        chunks.close()
        self.assertEqual(CLOSED, ["countdown", "slowly"])

    def test_only_streaming_tools(self):
        with self.assertRaisesRegex(TypeError, "does not stream"):
            next(testing.stream(remember, text="x"))


if __name__ == "__main__":
    unittest.main()
