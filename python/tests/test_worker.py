"""A real worker process, message by message."""

import hashlib
import os
import struct
import subprocess
import sys
import unittest
import unittest.mock

from tests.fakehost import Refusal, WorkerTest, encode, state


class HelloTest(WorkerTest):
    def test_hello(self):
        host = self.host()
        params = host.hello.params
        self.assertEqual(params["protocol"], [1, 1])
        self.assertEqual(params["pid"], host.process.pid)
        self.assertEqual(params["capacity"], 1)
        self.assertRegex(params["sdk"], r"^snakepit-python \d+\.\d+\.\d+$")
        self.assertRegex(params["runtime"], r"^\w+ 3\.\d+\.\d+ \(/.+\)$")
        tools = {tool["name"]: tool for tool in params["tools"]}
        self.assertEqual(
            tools["remember"],
            {
                "name": "remember",
                "doc": "Add a note.\n\nIt is kept in the session.",
                "parameters": {
                    "type": "object",
                    "properties": {"text": {"type": "string"}},
                    "required": ["text"],
                    "additionalProperties": False,
                },
                "readonly": False,
                "idempotent": False,
                "streams": False,
                "session": True,
            },
        )
        self.assertTrue(tools["recall"]["readonly"])
        self.assertTrue(tools["double"]["idempotent"])
        self.assertEqual([tools[n]["streams"] for n in ("countdown", "atrickle", "run_async")], [True, True, False])

    def test_refused(self):
        host = self.host(greet=False)
        hello = host.receive()
        host.send({"id": hello.header["id"], "error": {"code": -32010, "message": "no common version"}})
        self.assertIsNone(host.receive(expect_end=True))
        self.assertEqual(host.exit_status(), 4)
        self.assertIn("no common version", host.printed())

    def test_messages_before_the_answer_to_hello(self):
        host = self.host(greet=False)
        hello = host.receive()
        ping = host.request("ping", {})
        call = host.start("double", {"n": 4})
        self.assertEqual(host.answer(ping).result, {})
        host.send({"id": hello.header["id"], "result": {"protocol": 1}})
        self.assertEqual(host.answer(call).value(), 8)


class CallTest(WorkerTest):
    def setUp(self):
        self.worker = self.host()

    def test_values(self):
        for value in [None, True, 0, 2**70, 1.5, "é\u2028😀", [], {}, [1, [2]], {"a": {"b": None}}, {"$float": "NaN"}]:
            self.assertEqual(self.worker.call("echo", {"value": value}).value(), value)

    def test_special_values(self):
        values = {
            "i": 10**5000, "f": {"$float": "-Infinity"}, "d": {"$date": "2026-01-31"}, "o": {"$object": {"$float": 1}},
            "t": {"$datetime": "2026-01-31T12:30:00+00:00"}, "b": {"$bytes": 0},
        }  # fmt: skip
        answer = self.worker.call("kinds", values, parts=[b"x"])
        self.assertEqual(answer.value(), {"i": "int", "f": "float", "d": "date", "o": "dict", "t": "datetime", "b": "bytes"})
        answer = self.worker.call("echo", {"value": values}, parts=[b"x"])
        self.assertEqual((answer.value(), answer.parts), (values, [b"x"]))

    def test_bytes_travel_raw(self):
        for parts in ([b""], [os.urandom(100)], [b"a" * 70000, b"", b"b" * 3000000]):
            value = [{"$bytes": i} for i in range(len(parts))]
            answer = self.worker.call("echo", {"value": value}, parts=parts)
            self.assertEqual((answer.value(), answer.parts), (value, parts))

    def test_large_and_many_frames(self):
        text = "x" * 5000000
        self.assertEqual(self.worker.call("echo", {"value": text}).value(), text)
        calls = [self.worker.start("echo", {"value": "y" * n}) for n in (1, 70000, 65536 - 200, 2, 3, 65500, 1)]
        for call in calls:
            self.worker.answer(call).value()
        frame = encode({"id": 5000, "method": "call", "params": {"tool": "echo", "args": {"value": "z"}}})
        for byte in frame:  # in the smallest pieces
            self.worker.sock.sendall(bytes([byte]))
        self.assertEqual(self.worker.answer(5000).value(), "z")

    def test_errors_of_arguments(self):
        for tool, args, parameter in [
            ("double", {"n": "x"}, "n"), ("double", {"m": 1}, "m"), ("boom", {"message": None}, "message"),
            ("echo", {"value": {"$float": "x"}}, "value"), ("echo", {"value": {"$bytes": 0}}, "value"),
        ]:  # fmt: skip
            answer = self.worker.call(tool, args)
            self.assertEqual(answer.code, -32602, answer)
            self.assertEqual(answer.error["data"], {"type": "InvalidArguments", "parameter": parameter})
        answer = self.worker.call("remember", {"text": "a"})
        self.assertEqual((answer.code, answer.error["data"]), (-32602, {"type": "InvalidArguments"}))
        self.assertEqual(self.worker.call("countdown", {"n": 1}).code, -32602)
        self.assertEqual(self.worker.answer(self.worker.request("call", {"tool": "echo", "args": [1]})).code, -32602)

    def test_unknown_tool_and_method(self):
        answer = self.worker.call("nothing")
        self.assertEqual((answer.code, answer.error["data"]), (-32601, {"tool": "nothing"}))
        answer = self.worker.answer(self.worker.request("nothing", {}))
        self.assertEqual(answer.code, -32601)
        self.worker.send({"method": "nothing", "params": {}})
        self.worker.send({"method": "cancel", "params": {"call": 12345}})
        self.worker.send({"method": "credit", "params": {"call": 12345, "n": 1}})
        self.worker.send({"id": 12345, "result": {}})
        self.worker.ping()

    def test_malformed_calls(self):
        for params in ({}, {"tool": "echo", "session": {}}, {"tool": "echo", "args": {}, "session": {"id": "a"}}):
            answer = self.worker.answer(self.worker.request("call", params))
            self.assertEqual(answer.code, -32603)
            self.assertIn("runtime.py", answer.error["data"]["traceback"])
        self.worker.ping()

    def test_nested_too_deeply(self):
        deep = "[" * 100000 + "]" * 100000
        text = '{"jsonrpc":"2.0","id":77,"method":"call","params":{"tool":"echo","args":{"value":%s}}}' % deep
        self.worker.sock.sendall(struct.pack(">II", 4 + len(text), len(text)) + text.encode())
        self.assertEqual(self.worker.answer(77).code, -32602)

        def answer(params, parts):
            text = '{"jsonrpc":"2.0","id":%d,"result":{"value":%s}}' % (self.asked, deep)
            self.worker.sock.sendall(struct.pack(">II", 4 + len(text), len(text)) + text.encode())

        call = self.worker.start("run", {"code": "return snakepit.host.call('x')"})
        self.asked = self.worker.until("host.call").header["id"]
        answer(None, None)
        self.assertIn("nested too deeply", self.worker.answer(call).error["message"])

    def test_exceptions(self):
        answer = self.worker.call("boom", {"message": "it broke"})
        self.assertEqual(answer.code, -32001)
        self.assertEqual(answer.error["message"], "it broke")
        data = answer.error["data"]
        self.assertEqual(data["type"], "ValueError")
        self.assertEqual(data["causes"], [{"type": "KeyError", "message": "'missing'"}])
        lines = data["traceback"].splitlines()
        self.assertEqual(lines[0], "Traceback (most recent call last):")
        self.assertEqual(lines[-1], "ValueError: it broke")
        self.assertIn("KeyError: 'missing'", lines)
        self.assertIn("The above exception was the direct cause of the following exception:", lines)
        frames = [line for line in lines if line.startswith("  File")]
        self.assertEqual(len(frames), 2)
        for frame in frames:
            self.assertIn("worker_tools.py", frame)

    def test_types_of_exceptions(self):
        for code, kind in [
            ("import json; json.loads('{')", "json.decoder.JSONDecodeError"), ("raise SystemExit(3)", "SystemExit"),
            ("raise KeyboardInterrupt", "KeyboardInterrupt"), ("raise GeneratorExit", "GeneratorExit"),
            ("raise snakepit.Cancelled", "snakepit.Cancelled"),
            ("snakepit.host.call('x', a=object())", "snakepit.Unencodable"), ("exit()", "SystemExit"),
            ("def f(): f()\nf()", "RecursionError"), ("raise asyncio.CancelledError", "asyncio.exceptions.CancelledError"),
        ]:  # fmt: skip
            with self.subTest(code=code):
                for tool in ("run", "run_async"):
                    answer = self.worker.call(tool, {"code": code})
                    self.assertEqual(answer.code, -32001, answer)
                    self.assertEqual(answer.error["data"]["type"], kind)
        self.worker.ping()

    def test_exceptions_that_cannot_be_shown(self):
        code = "class Odd(Exception):\n  def __str__(self): raise KeyError\nraise Odd"
        answer = self.worker.call("run", {"code": code})
        self.assertIn("cannot be shown", answer.error["message"])
        answer = self.worker.call("run", {"code": "raise ValueError('\\ud800')"})
        self.assertEqual(answer.error["message"], "\\ud800")
        answer = self.worker.call("run", {"code": "raise ValueError('x' * 1000000)"})
        self.assertLess(len(answer.error["data"]["traceback"]), 100000)

    def test_unencodable_results(self):
        answer = self.worker.call("run", {"code": "return {'items': [1, {'when': object()}]}"})
        self.assertEqual(answer.code, -32004)
        self.assertEqual(answer.error["data"], {"type": "Unencodable", "path": "result.items[1].when", "value_type": "object"})
        self.assertIn("result.items[1].when: object cannot be encoded", answer.error["message"])
        answer = self.worker.call("run", {"code": "session.vars['x'] = b''"}, session=state(1, {}))
        self.assertEqual((answer.code, answer.error["data"]["path"]), (-32004, "session.vars.x"))

    def test_frames_too_large(self):
        host = self.host(max_frame=100000)
        answer = host.call("run", {"code": "session.vars['a'] = 1; return 'x' * 100000"}, session=state(1, {}))
        self.assertEqual((answer.code, answer.error["data"]["path"]), (-32004, "result"))
        answer = host.call("run", {"code": "return b'x' * 100000"})
        self.assertEqual(answer.code, -32004)
        answer = host.call("run", {"code": "return dict(session.vars)"}, session=state(1))
        self.assertEqual(answer.value(), {})
        answer = host.call("run", {"code": "snakepit.host.call('t', a='x' * 100000)"})
        self.assertEqual((answer.code, answer.error["data"]["type"]), (-32001, "snakepit.Error"))
        chunks, answer = host.stream("run_stream", {"code": "yield 1; yield 'x' * 100000"})
        self.assertEqual((chunks, answer.error["data"]["path"]), ([1], "chunk[1]"))
        self.assertEqual(host.call("run", {"code": "print('x' * 1000000)"}).value(), None)
        # What does not fit into a frame breaks the protocol.
        host.sock.sendall(struct.pack(">II", 100001, 2))
        self.assertIsNone(host.receive(expect_end=True))
        self.assertEqual(host.exit_status(), 1)
        self.assertIn("100001 bytes", host.printed())

    def test_broken_frames(self):
        for frame, problem in [
            (struct.pack(">II", 4, 1), "a header of 1 bytes"),
            (struct.pack(">II", 6, 2) + b"[]", "not an object"),
            (struct.pack(">II", 6, 2) + b"{x", "not JSON"),
            (struct.pack(">II", 11, 7) + b'{"a":\xff}', "not JSON"),
            (struct.pack(">II", 14, 9) + b'{"a":NaN}x', "NaN is not JSON"),
            (encode({"id": 1, "method": "call", "params": {"tool": "echo", "parts": [1]}}, [b"xx"]), "parts"),
        ]:
            with self.subTest(problem=problem):
                host = self.host()
                host.sock.sendall(frame)
                self.assertIsNone(host.receive(expect_end=True))
                self.assertEqual(host.exit_status(), 1)
                self.assertIn(problem, host.printed())

    def test_current(self):
        code = "c = snakepit.current(); return [c.tool, c.correlation, c.session_id, c.deadline is None, c.remaining()]"
        self.assertEqual(self.worker.call("run", {"code": code}).value(), ["run", "c-1", None, True, None])
        answer = self.worker.call("run", {"code": code}, session=state(1, {}), timeout_ms=5000).value()
        self.assertEqual(answer[:4], ["run", "c-1", "s1", False])
        self.assertTrue(4 < answer[4] <= 5, answer)

    def test_context_variables_do_not_leak_into_the_next_call(self):
        code = "if not hasattr(snakepit, 'v'): snakepit.v = contextvars.ContextVar('v', default=0)\nold = snakepit.v.get()\nsnakepit.v.set(1)\nreturn old"
        self.assertEqual([self.worker.call("run", {"code": code}).value() for _ in range(2)], [0, 0])


class StreamTest(WorkerTest):
    def setUp(self):
        self.worker = self.host()

    def test_chunks(self):
        chunks, answer = self.worker.stream("countdown", {"n": 3})
        self.assertEqual(chunks, [{"left": 3}, {"left": 2}, {"left": 1}])
        self.assertEqual(answer.result, {"value": None})
        self.assertEqual(self.worker.stream("countdown", {"n": 0})[0], [])

    def test_parts(self):
        call = self.worker.start("run_stream", {"code": "yield b'ab'; yield [b'', {'x': b'c'}]"}, stream=True)
        self.assertEqual(self.worker.until("chunk").parts, [b"ab"])
        chunk = self.worker.until("chunk")
        self.assertEqual((chunk.params, chunk.parts), ({"call": call, "value": [{"$bytes": 0}, {"x": {"$bytes": 1}}], "parts": [0, 1]}, [b"", b"c"]))
        self.worker.answer(call).value()

    def test_tools_that_do_not_stream(self):
        self.assertEqual(self.worker.stream("double", {"n": 2}), ([], unittest.mock.ANY))
        self.assertEqual(self.worker.stream("double", {"n": 2})[1].value(), 4)

    def test_errors(self):
        for tool, sleep in (("run_stream", ""), ("run_async_stream", "await asyncio.sleep(0)")):
            chunks, answer = self.worker.stream(tool, {"code": f"yield 1\n{sleep}\nraise ValueError('x')"})
            self.assertEqual((chunks, answer.code, answer.error["data"]["type"]), ([1], -32001, "ValueError"))
            chunks, answer = self.worker.stream(tool, {"code": "try:\n  yield 1\n  yield object()\nfinally:\n  print('closed')"})
            self.assertEqual((chunks, answer.code, answer.error["data"]["path"]), ([1], -32004, "chunk[1]"))
            self.assertIn(("info", "closed"), self.worker.logs())

    def test_credit(self):
        for tool in ("run_stream", "run_async_stream"):
            with self.subTest(tool=tool):
                code = "for i in range(10):\n  print(i)\n  yield i"
                call = self.worker.start(tool, {"code": code}, stream=True, window=2)
                got = [self.worker.until("chunk").params["value"] for _ in range(2)]
                self.worker.ping()  # the worker is waiting: nothing else comes
                self.assertEqual(got, [0, 1])
                self.assertEqual(self._chunks(), [])
                for n in (1, 3):
                    self.worker.credit(call, n)
                    got += [self.worker.until("chunk").params["value"] for _ in range(n)]
                self.worker.ping()
                self.assertEqual(self._chunks(), [])
                self.worker.credit(call, 100)
                self.worker.answer(call).value()
                self.assertEqual(got + self._chunks(), list(range(10)))
                self.worker.notes.clear()

    def _chunks(self):
        return [note.params["value"] for note in self.worker.notes if note.method == "chunk"]

    def test_the_default_window(self):
        call = self.worker.start("countdown", {"n": 100}, stream=True)
        for _ in range(64):
            self.worker.until("chunk")
        self.worker.ping()
        self.assertEqual(self._chunks(), [])
        self.worker.credit(call, 36)
        self.worker.answer(call).value()

    def test_a_change_comes_at_the_end(self):
        code = "session.vars['a'] = 1; yield 1; session.vars['b'] = 2"
        chunks, answer = self.worker.stream("run_stream", {"code": code}, session=state(1, {}))
        self.assertEqual(answer.result, {"value": None, "change": {"set": {"a": 1, "b": 2}, "unset": []}, "local": False, "local_used": False})


class SessionTest(WorkerTest):
    def setUp(self):
        self.worker = self.host()

    def run_in(self, session, code):
        return self.worker.call("run", {"code": code}, session=session)

    def test_remember(self):
        answer = self.worker.call("remember", {"text": "milk"}, session=state(1, {}))
        self.assertEqual(
            answer.result, {"value": {"count": 1}, "change": {"set": {"notes": ["milk"]}, "unset": []}, "local": False, "local_used": False}
        )
        answer = self.worker.call("remember", {"text": "eggs"}, session=state(2))
        self.assertEqual(answer.result["change"], {"set": {"notes": ["milk", "eggs"]}, "unset": []})
        answer = self.worker.call("recall", session=state(3))
        self.assertEqual(answer.result, {"value": ["milk", "eggs"], "local": False, "local_used": False})

    def test_state_missing(self):
        self.assertEqual(self.worker.call("recall", session=state(1)).code, -32003)
        self.worker.call("remember", {"text": "a"}, session=state(1, {})).value()
        # Whatever else is wrong with the call, this comes first.
        for tool, args in (("recall", {}), ("recall", {"x": 1}), ("nothing", {}), ("countdown", {"n": 1})):
            self.assertEqual(self.worker.call(tool, args, session=state(1)).code, -32003)
        self.assertEqual(self.worker.call("recall", session=state(2, incarnation="other")).code, -32003)
        self.worker.call("recall", session=state(1, {"notes": 1})).value()
        self.assertEqual(self.worker.call("recall", session=state(2)).code, -32003)
        self.worker.forget("s1")
        self.assertEqual(self.worker.call("recall", session=state(1)).code, -32003)

    def test_a_call_that_fails_holds_what_came_with_it(self):
        for version, (tool, args, code) in enumerate(
            [("recall", {"x": 1}, -32602), ("nothing", {}, -32601), ("countdown", {"n": 1}, -32602), ("boom", {}, -32001)]
        ):
            answer = self.worker.call(tool, args, session=state(version, {"notes": version}))
            self.assertEqual(answer.code, code)
            self.assertEqual(self.worker.call("recall", session=state(version)).value(), version)

    def test_an_error_takes_changes_back(self):
        self.worker.call("recall", session=state(1, {"notes": ["a"]})).value()
        for code in (
            "session.vars['notes'].append('b'); session.vars['x'] = 1; raise ValueError",
            "del session.vars['notes']; return object()",
        ):
            self.assertIn(self.run_in(state(1), code).code, (-32001, -32004))
            self.assertEqual(self.run_in(state(1), "return dict(session.vars)").result, {"value": {"notes": ["a"]}, "local": False, "local_used": False})

    def test_local(self):
        answer = self.run_in(state(1, {}), "session.local['lock'] = threading.Lock()")
        self.assertEqual(answer.result, {"value": None, "local": True, "local_used": True})
        self.assertEqual(self.run_in(state(1), "return list(session.local)").result, {"value": ["lock"], "local": True, "local_used": True})
        self.assertEqual(self.run_in(state(5, {}), "return list(session.local)").value(), ["lock"])
        self.assertFalse(self.run_in(state(5), "session.local.clear()").result["local"])
        self.run_in(state(5), "session.local['x'] = 1")
        self.assertEqual(self.run_in(state(1, {}, incarnation="i2"), "return dict(session.local)").value(), {})
        self.run_in(state(1, incarnation="i2"), "session.local['x'] = 1")
        self.worker.forget("s1")
        self.assertEqual(self.run_in(state(1, {}, incarnation="i2"), "return dict(session.local)").value(), {})

    def test_readonly(self):
        answer = self.run_in(state(1, {}, readonly=True), "session.vars['x'] = 1")
        self.assertEqual((answer.code, answer.error["data"]["type"]), (-32001, "snakepit.ReadOnlyError"))
        answer = self.run_in(state(1, {"x": []}, readonly=True), "session.vars['x'].append(1)")
        self.assertEqual((answer.code, answer.error["data"]["type"]), (-32001, "snakepit.ReadOnlyError"))
        self.assertTrue(self.run_in(state(1, readonly=True), "return session.readonly").value())

    def test_labels_and_metadata(self):
        code = "return [session.id, dict(session.labels), dict(session.metadata), session.readonly]"
        session = state(1, {}, labels={"team": "a"}, metadata={"k": "v"})
        self.assertEqual(self.run_in(session, code).value(), ["s1", {"team": "a"}, {"k": "v"}, False])
        self.assertEqual(self.run_in(state(1), code).value(), ["s1", {"team": "a"}, {"k": "v"}, False])

    def test_special_variables(self):
        vars = {"t": {"$datetime": "2026-01-31T12:30:00+00:00"}, "n": {"$float": "NaN"}, "$date": {"$object": {"$date": 1}}}
        code = "return [type(session.vars[k]).__name__ for k in ('t', 'n', '$date')]"
        answer = self.run_in(state(1, vars), code)
        self.assertEqual(answer.result, {"value": ["datetime", "float", "dict"], "local": False, "local_used": False})
        answer = self.run_in(state(1), "session.vars['copy'] = [session.vars['t'], session.vars['$date']]")
        self.assertEqual(answer.result["change"]["set"], {"copy": [vars["t"], vars["$date"]]})

    def test_no_session(self):
        self.assertEqual(self.worker.call("run", {"code": "return session"}).result, {"value": None})


class ProgramTest(WorkerTest):
    """The host's side of programs, in Python."""

    def setUp(self):
        self.worker = self.host()
        self.programs = {"old": b"0123456789" * 300000}
        self.uploads: dict = {}
        self.requests: list = []
        for method in ("read", "open", "write", "close", "abort", "delete"):
            self.worker.handlers["program." + method] = getattr(self, "on_" + method)

    def entry(self, name):
        data = self.programs[name]
        return {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "content_type": "t/x"}

    def on_read(self, params, parts):
        self.requests.append((params["offset"], params["limit"]))
        data = self.programs[params["name"]][params["offset"] :][: params["limit"]]
        return {"parts": [len(data)]}, [data]

    def on_open(self, params, parts):
        if params["name"] == "full":
            raise Refusal("no room")
        self.uploads[len(self.uploads) + 1] = [params["name"], params["content_type"], b""]
        return {"upload": len(self.uploads)}

    def on_write(self, params, parts):
        self.uploads[params["upload"]][2] += parts[0]
        return {}

    def on_close(self, params, parts):
        name, content_type, data = self.uploads[params["upload"]]
        self.programs[name] = data
        return {"program": self.entry(name)}

    def on_abort(self, params, parts):
        self.uploads[params["upload"]] = None
        return {}

    def on_delete(self, params, parts):
        del self.programs[params["name"]]
        return {}

    def run_in(self, code, version=1, vars=None):
        session = state(version, vars)
        if vars is not None:
            session["programs"] = [self.entry(name) for name in self.programs]
        return self.worker.call("run", {"code": code}, session=session)

    def test_reading(self):
        self.assertEqual(self.run_in("i = session.programs.info('old'); return [len(session.programs), i.size, i.content_type]", 1, {}).value(), [1, 3000000, "t/x"])
        self.assertEqual(self.requests, [])
        answer = self.run_in("return session.programs['old']")
        self.assertEqual(answer.parts, [self.programs["old"]])
        self.assertEqual(self.requests, [(0, 1 << 20), (1 << 20, 1 << 20), (2 << 20, 3000000 - (2 << 20))])
        self.requests.clear()
        answer = self.run_in("f = session.programs.open('old'); f.seek(1500001); return [f.read(3), f.tell()]")
        self.assertEqual((answer.parts, answer.value()[1]), ([b"123"], 1500004))
        self.assertEqual(len(self.requests), 1)
        self.assertEqual(self.run_in("session.programs['x']").error["data"]["type"], "KeyError")

    def test_damage_is_noticed(self):
        self.run_in("pass", 1, {})
        self.programs["old"] = b"x" * 3000000
        self.assertIn("damaged", self.run_in("session.programs['old']").error["message"])
        self.programs["old"] = b"x"
        self.assertIn("damaged", self.run_in("session.programs['old']").error["message"])

    def test_writing(self):
        answer = self.run_in("session.programs['new'] = b'abc'; return [session.programs['new'], sorted(session.programs)]", 1, {})
        self.assertEqual((answer.parts, answer.value()), ([b"abc"], [{"$bytes": 0}, ["new", "old"]]))
        self.assertNotIn("change", answer.result)
        # The version has advanced without a change of variables.
        self.assertEqual(self.run_in("return 1", 1).code, -32003)
        self.assertEqual(self.run_in("return sorted(session.programs)", 2).value(), ["new", "old"])
        answer = self.run_in("del session.programs['old']; return sorted(session.programs)", 2)
        self.assertEqual((answer.value(), list(self.programs)), (["new"], ["new"]))
        self.assertEqual(self.run_in("return sorted(session.programs)", 3).value(), ["new"])

    def test_streaming(self):
        code = "with session.programs.write('big', content_type='t/y') as f:\n  for i in range(5): f.write(b'%d' % i * 700000)\nreturn f.info.size"
        self.assertEqual(self.run_in(code, 1, {}).value(), 3500000)
        self.assertEqual(self.programs["big"], b"".join(b"%d" % i * 700000 for i in range(5)))
        self.assertEqual(self.uploads[1][1], "t/y")

    def test_errors_take_changes_back(self):
        self.run_in("pass", 1, {})
        before = dict(self.programs)
        code = "with session.programs.write('new') as f:\n  f.write(b'x')\n  raise ValueError"
        self.assertEqual(self.run_in(code).error["data"]["type"], "ValueError")
        self.assertEqual((self.uploads, self.programs), ({1: None}, before))
        self.assertEqual(self.run_in("session.programs['new'] = b''; raise ValueError").code, -32001)
        self.assertEqual(self.run_in("return sorted(session.programs)").value(), ["old"])

    def test_refused(self):
        answer = self.run_in("session.programs['full'] = b'x'", 1, {})
        self.assertEqual((answer.code, answer.error["data"]["type"], answer.error["message"]), (-32001, "snakepit.HostError", "no room"))
        code = "try: session.programs['full'] = b'x'\nexcept snakepit.HostError as e: return [e.reason, str(e)]"
        self.assertEqual(self.run_in(code).value(), ["test", "no room"])

    def test_not_bytes(self):
        self.assertEqual(self.run_in("session.programs['x'] = 'text'", 1, {}).error["data"]["type"], "TypeError")
        self.assertEqual(self.uploads, {})

    def test_after_the_call(self):
        self.run_in("session.local['s'] = session", 1, {})
        answer = self.run_in("session.local['s'].programs['old']")
        self.assertIn("has ended", answer.error["message"])


class HostCallTest(WorkerTest):
    def setUp(self):
        self.worker = self.host()
        self.worker.handlers["host.call"] = self.on_call

    def on_call(self, params, parts):
        if params["tool"] == "refuse":
            raise Refusal("not you")
        return {"value": [params["tool"], params["args"]]}

    def test_call(self):
        for tool in ("run", "run_async"):
            answer = self.worker.call(tool, {"code": "return snakepit.host.call('add', a=1, name='x', when=float('nan'))"})
            self.assertEqual(answer.value(), ["add", {"a": 1, "name": "x", "when": {"$float": "NaN"}}])

    def test_async(self):
        code = "return await asyncio.gather(*(snakepit.host.call_async('add', n=n) for n in range(20)))"
        self.assertEqual(self.worker.call("run_async", {"code": code}).value(), [["add", {"n": n}] for n in range(20)])

    def test_errors(self):
        code = "try: snakepit.host.call('refuse')\nexcept snakepit.HostError as e: return [e.reason, str(e)]"
        self.assertEqual(self.worker.call("run", {"code": code}).value(), ["test", "not you"])
        answer = self.worker.call("run_async", {"code": "await snakepit.host.call_async('refuse')"})
        self.assertEqual(answer.error["data"]["type"], "snakepit.HostError")

    def test_from_other_threads(self):
        code = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    def ask(n): return snakepit.host.call("add", n=n)[1]["n"]
    jobs = [pool.submit(contextvars.copy_context().run, ask, n) for n in range(50)]
    mine = [snakepit.host.call("add", n=n)[1]["n"] for n in range(50)]
    return [mine, [job.result() for job in jobs]]
"""
        self.assertEqual(self.worker.call("run", {"code": code}).value(), [list(range(50))] * 2)
        code = "return await asyncio.gather(*(asyncio.to_thread(snakepit.host.call, 'add', n=n) for n in range(5)))"
        self.assertEqual(self.worker.call("run_async", {"code": code}).value(), [["add", {"n": n}] for n in range(5)])

    def test_outside_of_a_call(self):
        code = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(1) as pool:
    return str(pool.submit(snakepit.host.call, "add").exception())
"""
        self.assertIn("copy_context", self.worker.call("run", {"code": code}).value())
        code = "snakepit.kept = contextvars.copy_context()"
        self.worker.call("run", {"code": code}).value()
        answer = self.worker.call("run", {"code": "snakepit.kept.run(snakepit.host.call, 'add')"})
        self.assertIn("has ended", answer.error["message"])

    def test_messages_while_it_waits(self):
        call = self.worker.start("run", {"code": "return snakepit.host.call('x')"})
        asked = self.worker.until("host.call").header["id"]
        self.worker.ping()
        next_call = self.worker.start("double", {"n": 2})
        self.worker.ping()
        self.worker.send({"id": asked, "result": {"value": 5}})
        self.assertEqual(self.worker.answer(call).value(), 5)
        self.assertEqual(self.worker.answer(next_call).value(), 4)

    def test_event(self):
        self.worker.call("run", {"code": "snakepit.event('tool.step', {'rows': 3}, {'k': 'v'})"}).value()
        self.worker.call("run", {"code": "snakepit.event('bare')"}).value()
        events = [note.params for note in self.worker.notes if note.method == "event"]
        self.assertEqual([e.pop("call") > 0 for e in events], [True, True])
        self.assertEqual(
            events,
            [
                {"name": "tool.step", "measurements": {"rows": 3}, "attrs": {"k": "v"}},
                {"name": "bare", "measurements": {}, "attrs": {}},
            ],
        )


class AsyncTest(WorkerTest):
    def test_one_loop_for_all(self):
        host = self.host()
        code = "return id(asyncio.get_running_loop())"
        first = host.call("run_async", {"code": code}).value()
        self.assertEqual(host.call("run_async", {"code": code}).value(), first)
        code = "return threading.current_thread() is threading.main_thread()"
        self.assertTrue(host.call("run_async", {"code": code}).value())

    def test_left_tasks_end_with_the_worker(self):
        host = self.host()
        code = "async def forever():\n  try: await asyncio.sleep(1e6)\n  finally: print('ended')\nsnakepit.task = asyncio.create_task(forever())\nawait asyncio.sleep(0)"
        host.call("run_async", {"code": code}).value()
        host.answer(host.request("shutdown", {}))
        self.assertEqual(host.until("log").params["message"], "ended")
        self.assertEqual(host.exit_status(), 0)

    def test_asyncio_is_not_imported_without_async_tools(self):
        path = self.tools("import sys\nfrom snakepit import tool\n@tool\ndef loaded(): return sorted(sys.modules)")
        loaded = set(self.host(path).call("loaded").value())
        bare = subprocess.run([sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True)
        loaded -= set(bare.stdout.split())  # a .pth file may import anything
        self.assertEqual(loaded & {"asyncio", "inspect", "dataclasses", "ssl", "hashlib"}, set())


if __name__ == "__main__":
    unittest.main()
