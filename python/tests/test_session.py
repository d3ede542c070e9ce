"""What a worker holds of sessions, and what it notices of changes."""

import unittest
from datetime import datetime

from snakepit import ReadOnlyError, SessionError, Unencodable
from snakepit.session import HELD_SESSIONS, Session, Sessions, StateMissing
from tests.fakehost import state


def opened(sessions: Sessions, params: dict, special=True, readonly=False) -> Session:
    return Session(params["id"], sessions.open(params, special), readonly, None)


def finish(session: Session) -> dict:
    """End a call successfully; what changed."""
    change = session._change()
    session._commit(change)
    session._end()
    return {"set": {k: v.decode() for k, v in change.set.items()}, "unset": change.unset}


NOTHING = {"set": {}, "unset": []}


class VarsTest(unittest.TestCase):
    def setUp(self):
        self.sessions = Sessions()
        self.version = 1
        vars = {
            "notes": ["a"], "deep": {"x": [{"y": 1}]}, "n": 1, "s": "text", "none": None,
            "when": {"$datetime": "2026-01-31T12:30:00Z"}, "escaped": {"$object": {"$float": 1}}, "f": 1e5,
        }  # fmt: skip
        self.session = opened(self.sessions, state(1, vars))

    def next(self) -> dict:
        """Finish the call and begin the next; what changed."""
        change = finish(self.session)
        self.version += 1 if change != NOTHING else 0
        self.session = opened(self.sessions, state(self.version))
        return change

    def test_reading_changes_nothing(self):
        for _ in range(2):  # from the parsed form, then from the text
            self.assertEqual(
                dict(self.session.vars),
                {
                    "notes": ["a"], "deep": {"x": [{"y": 1}]}, "n": 1, "s": "text", "none": None,
                    "when": datetime.fromisoformat("2026-01-31T12:30:00+00:00"), "escaped": {"$float": 1}, "f": 1e5,
                },
            )  # fmt: skip
            self.assertEqual(self.next(), NOTHING)

    def test_what_cannot_be_read_can_be_replaced(self):
        # The host's other clients may have written it.
        broken = {"$bytes": 0}, {"$datetime": "x"}, "\ud800", ["\ud800"]
        for value in broken:
            session = opened(self.sessions, state(1, {"v": value}))
            session.vars["v"] = 1
            self.assertEqual(finish(session), {"set": {"v": "1"}, "unset": []})

    def test_nested_changes_are_noticed(self):
        self.session.vars["deep"]["x"][0]["y"] = 2
        self.assertEqual(self.next(), {"set": {"deep": '{"x":[{"y":2}]}'}, "unset": []})
        self.session.vars["deep"]["x"].append(3)
        self.assertEqual(self.next(), {"set": {"deep": '{"x":[{"y":2},3]}'}, "unset": []})
        self.assertEqual(self.next(), NOTHING)
        self.assertEqual(self.session.vars["deep"], {"x": [{"y": 2}, 3]})

    def test_a_change_taken_back_is_none(self):
        self.session.vars["notes"].append(1)
        self.session.vars["notes"].pop()
        self.session.vars["n"] = 1
        self.session.vars["s"] = "other"
        self.session.vars["s"] = "text"
        del self.session.vars["none"]
        self.session.vars["none"] = None
        self.session.vars["when"] = datetime.fromisoformat("2026-01-31T12:30:00+00:00")
        self.assertEqual(self.next(), NOTHING)

    def test_equal_values_of_another_type_are_changes(self):
        self.session.vars["n"] = 1.0
        self.assertEqual(self.next()["set"], {"n": "1.0"})
        self.session.vars["n"] = True
        self.assertEqual(self.next()["set"], {"n": "true"})

    def test_set_and_delete(self):
        self.session.vars["new"] = (1, 2)
        self.session.vars["gone"] = 1
        del self.session.vars["gone"]
        del self.session.vars["n"], self.session.vars["notes"]
        self.assertNotIn("n", self.session.vars)
        self.assertEqual(len(self.session.vars), 7)
        self.assertEqual(list(self.session.vars), ["deep", "s", "none", "when", "escaped", "f", "new"])
        with self.assertRaises(KeyError):
            self.session.vars["n"]
        with self.assertRaises(KeyError):
            del self.session.vars["n"]
        with self.assertRaises(KeyError):
            del self.session.vars["never"]
        self.assertEqual(self.next(), {"set": {"new": "[1,2]"}, "unset": ["n", "notes"]})
        self.assertEqual(self.session.vars["new"], [1, 2])
        self.assertNotIn("n", self.session.vars)

    def test_mapping_methods(self):
        v = self.session.vars
        self.assertEqual(v.pop("n"), 1)
        self.assertEqual(v.setdefault("list", []), [])
        v["list"].append(1)
        v.update(a=1)
        self.assertIsNone(v.get("nothing"))
        self.assertEqual(self.next(), {"set": {"list": "[1]", "a": "1"}, "unset": ["n"]})
        self.session.vars.clear()
        self.assertEqual(len(self.session.vars), 0)
        self.assertEqual(len(self.next()["unset"]), 9)

    def test_objects_kept_by_a_tool_change_nothing_later(self):
        kept = self.session.vars["notes"]
        mine: list = []
        self.session.vars["mine"] = mine
        self.next()
        kept.append("later")
        mine.append("later")
        self.assertEqual(self.session.vars["notes"], ["a"])
        self.assertEqual(self.session.vars["mine"], [])
        self.assertEqual(self.next(), NOTHING)

    def test_a_call_that_is_not_finished_leaves_no_trace(self):
        self.session.vars["notes"].append("b")
        self.session.vars["new"] = 1
        del self.session.vars["n"]
        self.session._end()
        self.session = opened(self.sessions, state(1))
        self.assertEqual(self.session.vars["notes"], ["a"])
        self.assertEqual(self.session.vars["n"], 1)
        self.assertNotIn("new", self.session.vars)
        self.assertEqual(self.next(), NOTHING)

    def test_use_after_the_call(self):
        vars = self.session.vars
        self.next()
        for use in (lambda: vars["n"], lambda: vars.update(n=2), lambda: list(vars), lambda: len(vars), lambda: "n" in vars):
            with self.assertRaises(SessionError):
                use()
        self.assertIn("ended", repr(vars))

    def test_local_after_the_call(self):
        session = self.session
        session.local["x"] = 1
        self.next()
        # The host was told at the answer whether there is something in it.
        with self.assertRaisesRegex(SessionError, "session.local was used after its call had ended"):
            session.local["y"] = 2
        self.assertEqual(self.session.local, {"x": 1})

    def test_unencodable(self):
        for value, path in [(object(), "session.vars.x"), ([b"1"], "session.vars.x[0]"), ({1: 2}, "session.vars.x")]:
            self.session.vars["x"] = value
            with self.assertRaises(Unencodable) as caught:
                self.session._change()
            self.assertEqual(caught.exception.path, path)
        with self.assertRaises(TypeError):
            self.session.vars[1] = 1
        for name in ("", "x" * 513, "ä" * 257):  # the store would refuse it after the tool has run
            with self.assertRaises(ValueError):
                self.session.vars[name] = 1
        self.session.vars["ä" * 256] = 1

    def test_odd_names(self):
        self.session.vars["$bytes"] = 1
        self.session.vars["a b"] = [1]
        self.next()
        self.assertEqual(self.session.vars["$bytes"], 1)
        session = opened(Sessions(), state(1, {"$bytes": [0]}))
        self.assertEqual(dict(session.vars), {"$bytes": [0]})

    def test_readonly(self):
        session = opened(self.sessions, state(1), readonly=True)
        self.assertEqual(session.vars["notes"], ["a"])
        for change in (
            lambda: session.vars.update(a=1), lambda: session.vars.pop("n"), lambda: session.vars.clear(),
            lambda: session.programs.put("p", b""), lambda: session.programs.write("p"),
        ):  # fmt: skip
            with self.assertRaises(ReadOnlyError):
                change()
        self.assertFalse(session._change())
        session.vars["notes"].append("b")
        with self.assertRaisesRegex(ReadOnlyError, "notes"):
            session._change()


class ReadTest(unittest.TestCase):
    """What a call has read, for a host that wants to know."""

    def read(self, use, want=True):
        held = Sessions().open(state(1, {"a": [1], "b": 2}), False)
        session = Session("s", held, False, None, want_read=want)
        use(session)
        return session._names_read()

    def test_names(self):
        def use(session):
            session.vars["a"].append(2)
            session.vars.get("missing")
            self.assertIn("b", session.vars)
            session.vars["written"] = 1

        self.assertEqual(self.read(use), ["a", "b", "missing"])
        self.assertIsNone(self.read(use, want=False))
        self.assertEqual(self.read(lambda session: None), [])

    def test_all(self):
        for use in (
            lambda s: list(s.vars), lambda s: len(s.vars), lambda s: dict(s.vars), lambda s: s.vars.items() and list(s.vars.items()),
            lambda s: repr(s.vars), lambda s: s.cached("key", lambda: 1),
        ):  # fmt: skip
            self.assertIs(self.read(use), True)
        self.assertEqual(self.read(lambda s: s.cached("key", lambda: 1, vars=["b"])), ["b"])


class HeldTest(unittest.TestCase):
    def test_without_state(self):
        with self.assertRaises(StateMissing):
            Sessions().open(state(1), False)

    def test_versions_and_incarnations(self):
        sessions = Sessions()
        opened(sessions, state(3, {"a": 1}))
        for wrong in (state(2), state(4), state(3, incarnation="other")):
            with self.assertRaises(StateMissing):
                sessions.open(wrong, False)
        with self.assertRaises(StateMissing):  # the other incarnation has replaced it
            sessions.open(state(3), False)

    def test_the_pending_rule(self):
        sessions = Sessions()
        session = opened(sessions, state(1, {"a": 1}))
        session.vars["a"] = 2
        finish(session)
        with self.assertRaises(StateMissing):  # not committed: the copy is ahead
            sessions.open(state(1), False)
        session = opened(sessions, state(2))  # committed
        self.assertEqual(session.vars["a"], 2)
        finish(session)
        with self.assertRaises(StateMissing):  # nothing was changed since
            sessions.open(state(3), False)
        session = opened(sessions, state(2))
        session.vars["a"] = 3
        finish(session)
        self.assertEqual(opened(sessions, state(2, {"a": 2})).vars["a"], 2)  # replaced
        self.assertEqual(opened(sessions, state(2)).vars["a"], 2)
        with self.assertRaises(StateMissing):
            sessions.open(state(3), False)

    def test_a_higher_version_than_the_next(self):
        sessions = Sessions()
        session = opened(sessions, state(1, {"a": 1}))
        session.vars["a"] = 2
        finish(session)
        self.assertEqual(opened(sessions, state(7)).vars["a"], 2)

    def test_forget(self):
        sessions = Sessions()
        opened(sessions, state(1, {})).local["x"] = 1
        sessions.forget("s1")
        sessions.forget("unknown")
        with self.assertRaises(StateMissing):
            sessions.open(state(1), False)
        self.assertEqual(opened(sessions, state(1, {})).local, {})

    def test_local_lives_as_long_as_the_incarnation_is_held(self):
        sessions = Sessions()
        opened(sessions, state(1, {})).local["x"] = 1
        self.assertEqual(opened(sessions, state(5, {"new": 1})).local, {"x": 1})
        self.assertEqual(opened(sessions, state(1, {}, incarnation="other")).local, {})

    def test_the_least_recently_used_are_dropped(self):
        sessions = Sessions(limit=3)
        for name in "abc":
            opened(sessions, state(1, {}, id=name))
        sessions.open(state(1, id="a"), False)
        opened(sessions, state(1, {}, id="d"))
        with self.assertRaises(StateMissing):
            sessions.open(state(1, id="b"), False)
        for name in "acd":
            sessions.open(state(1, id=name), False)

    def test_sessions_with_local_objects_are_not_dropped(self):
        sessions = Sessions(limit=2)
        for name in "abc":
            opened(sessions, state(1, {}, id=name)).local["x"] = name
        opened(sessions, state(1, {}, id="d"))
        self.assertEqual(len(sessions), 4)
        opened(sessions, state(1, {}, id="e"))
        self.assertEqual(len(sessions), 4)
        for name in "abc":
            self.assertEqual(opened(sessions, state(1, id=name)).local, {"x": name})
        with self.assertRaises(StateMissing):
            sessions.open(state(1, id="d"), False)

    def test_the_limit(self):
        sessions = Sessions()
        for i in range(HELD_SESSIONS + 5):
            opened(sessions, state(1, {}, id=str(i)))
        self.assertEqual(len(sessions), HELD_SESSIONS)

    def test_labels_and_metadata_are_read_only(self):
        session = opened(Sessions(), state(1, {}, labels={"team": "a"}, metadata={"m": "b"}))
        self.assertEqual((session.id, dict(session.labels), dict(session.metadata)), ("s1", {"team": "a"}, {"m": "b"}))
        with self.assertRaises(TypeError):
            session.labels["x"] = 1
        for name in ("id", "vars", "labels", "local", "readonly", "anything"):
            with self.assertRaises(AttributeError):
                setattr(session, name, 1)


if __name__ == "__main__":
    unittest.main()
