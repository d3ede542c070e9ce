"""session.cached, and what a worker says of session.local."""

import unittest

import snakepit
from snakepit import testing, tool
from snakepit.cached import MAX_CACHED
from tests.fakehost import WorkerTest, state

MADE: list = []


def make(value):
    MADE.append(value)
    return [value]


@tool
def use(code: str, session):
    """Execute a function body with the session."""
    scope = {"session": session, "make": make}
    body = "\n".join("    " + line for line in code.splitlines())
    exec(f"def body():\n{body}", scope)
    return scope["body"]()


WHOLE = "return session.cached('k', lambda: make(session.vars.get('x')))[0]"
NAMED = "return session.cached('k', lambda: make(session.vars.get('x')), vars=['x'])[0]"


class CachedTest(unittest.TestCase):
    def setUp(self):
        MADE.clear()
        self.session = testing.Session(vars={"x": 1, "y": [1]}, programs={"p": b"1"})

    def call(self, code: str):
        return testing.call(use, session=self.session, code=code)

    def check(self, code: str, value: object, made: int):
        self.assertEqual((self.call(code), len(MADE)), (value, made))

    def test_made_once(self):
        for _ in range(3):
            self.check(WHOLE, 1, 1)
        self.check("session.vars['y']; return session.cached('other', lambda: make(5))[0]", 5, 2)

    def test_made_again_after_any_change(self):
        for made, change in enumerate(
            ["session.vars['y'].append(2)", "session.vars['z'] = 1", "del session.vars['z']", "session.programs['p'] = b'2'"], 1
        ):
            self.check(WHOLE, 1, made)
            self.check(WHOLE, 1, made)
            self.call(change)
        self.session.vars["x"] = True  # by somebody else; equal, and not the same
        self.check(WHOLE, True, 5)
        self.session.labels["a"] = "b"
        self.check(WHOLE, True, 6)

    def test_a_call_that_fails_leaves_no_value_of_its_own(self):
        with self.assertRaises(ZeroDivisionError):
            self.call("session.vars['x'] = 2\nassert session.cached('k', lambda: make(session.vars['x'])) == [2]\n1/0")
        self.check(WHOLE, 1, 2)
        with self.assertRaises(ZeroDivisionError):
            self.call("session.vars['y'].append(5)\nsession.cached('k', lambda: make(7))\n1/0")
        self.check(WHOLE, 1, 3)  # the value of before, on the state of before

    def test_not_after_a_change_within_the_call(self):
        get = "session.cached('k', lambda: make(session.vars['x']))[0]"
        self.check(f"a = {get}; session.vars['x'] = 2; return [a, {get}, {get}]", [1, 2, 2], 3)
        self.check(WHOLE, 2, 4)
        # make() itself changes the state.
        self.call("session.cached('k2', lambda: session.vars.update(x=3) or make(3)); session.vars['x'] = 2")
        self.check("return session.cached('k2', lambda: make(9))[0]", 9, 6)

    def test_what_is_named_counts(self):
        for made in (1, 1):
            self.check(NAMED, 1, made)
        for change in ("session.vars['y'].append(2)", "session.programs['p'] = b'2'", "session.vars['x'] = 1"):
            self.call(change)
            self.check(NAMED, 1, 1)
        self.check("session.vars['y'] = 5; " + NAMED, 1, 1)
        self.check("session.vars['x'] = 2; " + NAMED, 2, 2)
        self.check(NAMED, 2, 2)
        self.call("del session.vars['x']")
        self.check(NAMED, None, 3)
        code = "return session.cached('p', lambda: make(session.programs['p'].decode()), programs=['p'])[0]"
        for made in (4, 4):
            self.check(code, "2", made)
        self.session.programs["p"] = b"3"
        self.check(code, "3", 5)
        self.session.vars["x"] = "long" * 1000
        self.check(NAMED, "long" * 1000, 6)
        self.check(NAMED, "long" * 1000, 6)

    def test_a_failed_call_and_what_is_named(self):
        with self.assertRaises(ZeroDivisionError):
            self.call("session.vars['x'] = 2\nsession.cached('k', lambda: make(2), vars=['x'])\n1/0")
        self.check(NAMED, 1, 2)

    def test_bounded(self):
        self.call(f"for i in range({MAX_CACHED + 1}): session.cached(i, lambda: make(i))")
        self.check("return session.cached(1, lambda: make('again'))[0]", 1, MAX_CACHED + 1)
        self.check("return session.cached(0, lambda: make('again'))[0]", "again", MAX_CACHED + 2)

    def test_wrong_use(self):
        with self.assertRaisesRegex(TypeError, r"write \['x'\]"):
            self.call("session.cached('k', make, vars='x')")
        with self.assertRaisesRegex(TypeError, "await first"):
            self.call("async def f(): pass\nc = f()\ntry: session.cached('k', lambda: c)\nfinally: c.close()")
        kept = []

        @tool
        def keep(session):
            kept.append(session)

        self.addCleanup(snakepit.tools._definitions.pop)
        testing.call(keep, session=self.session)
        with self.assertRaisesRegex(snakepit.SessionError, "session.cached"):
            kept[0].cached("k", lambda: 1)


@tool(local=False)
def never(session):
    return len(session.local)


class LocalTest(WorkerTest):
    def test_declared(self):
        with self.assertRaisesRegex(snakepit.SessionError, "local=False"):
            testing.call(never, session=testing.Session())
        self.assertIs(never.__snakepit_tool__.describe()["local"], False)
        self.assertNotIn("local", use.__snakepit_tool__.describe())

    def test_what_the_host_is_told(self):
        host = self.host()
        for number, (code, local, used) in enumerate([
            ("session.vars", False, False), ("session.local", False, True), ("session.local['a'] = 1", True, True),
            ("session.cached('k', lambda: 1)", True, False), ("session.local.clear()", False, True),
        ]):  # fmt: skip
            with self.subTest(code=code):
                answer = host.call("run", {"code": code}, session=state(1, {} if number == 0 else None))
                self.assertEqual((answer.result["local"], answer.result["local_used"]), (local, used))

    def test_a_worker_keeps_values_while_the_state_is_the_same(self):
        host = self.host()
        code = "session.vars.get('x'); return session.cached('k', lambda: snakepit.host.call('made'))"
        made = []
        host.handlers["host.call"] = lambda params, parts: {"value": made.append(1) or len(made)}

        def get(state, code=code):
            return host.call("run", {"code": code}, session=state).value()

        self.assertEqual([get(state(1, {"x": 1})), get(state(1)), get(state(1))], [1, 1, 1])
        self.assertEqual(get(state(2, {"x": 2})), 2)  # changed by somebody else
        self.assertEqual(get(state(2), "session.vars['x'] = 3"), None)
        self.assertEqual([get(state(3)), get(state(3))], [3, 3])
        get(state(3), "session.vars['x'] = 5")  # whose commit fails: the host sends the old state
        self.assertEqual(get(state(3, {"x": 3})), 4)
        host.forget("s1")
        self.assertEqual(get(state(3, {"x": 3})), 5)


if __name__ == "__main__":
    unittest.main()
