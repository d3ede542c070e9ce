"""Cancelling running tools: what stops, what is left, and what goes on."""

import os
import time
import unittest

from tests.fakehost import WorkerTest, state

STARTED = "print('started')\n"


class CancelTest(WorkerTest):
    def setUp(self):
        self.worker = self.host()

    def cancelled(self, tool: str, code: str, **params):
        """Start it, cancel it once it prints "started", and check the answer."""
        call = self.worker.start(tool, {"code": code}, **params)
        while self.worker.until("log").params["message"] != "started":
            pass
        self.worker.cancel(call)
        answer = self.worker.answer(call)
        self.assertEqual(answer.code, -32002, answer)
        self.worker.ping()
        self.assertEqual(self.worker.call("double", {"n": 2}).value(), 4)
        return answer

    def test_sync_tools(self):
        for body in (
            "time.sleep(1e6)",
            "while True: pass",
            "threading.Lock().acquire() and None\nl = threading.Lock(); l.acquire(); l.acquire()",
            "os.read(os.pipe()[0], 1)",
            "import subprocess; subprocess.run(['sleep', '1000'])",
            "threading.Event().wait()",
            "while True: print('x')",
            "while True: logging.info('x')",
            "def f(): return f()\nwhile True:\n  try: f()\n  except RecursionError: pass",
            "while True:\n  try: time.sleep(0.001); raise ValueError\n  except Exception: pass",
            "import multiprocessing as m; m.get_context('fork').Process(target=time.sleep, args=(0.01,)).start(); time.sleep(1e6)",
        ):
            with self.subTest(body=body):
                self.cancelled("run", STARTED + body)

    def test_waiting_for_the_host(self):
        self.worker.handlers["host.call"] = lambda params, parts: None
        for tool, body in [("run", "snakepit.host.call('x')"), ("run_async", "await snakepit.host.call_async('x')")]:
            for before in ("", "time.sleep(0.05)\n"):  # who reads: the main thread, or the helper
                with self.subTest(tool=tool, before=before):
                    call = self.worker.start(tool, {"code": before + body})
                    asked = self.worker.until("host.call")
                    self.worker.cancel(call)
                    self.assertEqual(self.worker.answer(call).code, -32002)
                    self.worker.send({"id": asked.header["id"], "result": {"value": 1}})  # too late
                    self.worker.ping()

    def test_an_async_tool_that_blocks(self):
        """It cannot be interrupted before it awaits something."""
        call = self.worker.start("run_async", {"code": "return snakepit.host.call('x')"})
        asked = self.worker.until("host.call")
        self.worker.cancel(call)
        self.worker.ping()
        self.worker.send({"id": asked.header["id"], "result": {"value": 1}})
        self.assertIn(self.worker.answer(call).code, (None, -32002))
        self.worker.ping()

    def test_async_tools(self):
        self.cancelled("run_async", STARTED + "await asyncio.sleep(1e6)")
        self.cancelled("run_async", STARTED + "while True: await asyncio.sleep(0)")
        self.cancelled("run_async", STARTED + "await asyncio.gather(*(asyncio.sleep(1e6) for _ in range(3)))")

    def test_streams(self):
        for tool, nap in (("run_stream", "time.sleep(1e6)"), ("run_async_stream", "await asyncio.sleep(1e6)")):
            for body in (f"yield 1\n{STARTED}{nap}", f"{STARTED}while True: yield 1", f"{STARTED}yield 1\nyield 2\nyield 3"):
                with self.subTest(tool=tool, body=body):
                    self.worker.notes.clear()
                    self.cancelled(tool, f"try:\n" + "\n".join("  " + line for line in body.splitlines()) + "\nfinally: print('closed')", stream=True, window=2)
                    self.assertIn(("info", "closed"), self.worker.logs())

    def test_a_stream_that_waits_for_credit(self):
        for tool in ("run_stream", "run_async_stream"):
            for before in ("", "time.sleep(0.05)\n"):
                call = self.worker.start(tool, {"code": before + "for i in range(10): yield i"}, stream=True, window=1)
                self.worker.until("chunk")
                self.worker.ping()
                self.worker.cancel(call)
                self.assertEqual(self.worker.answer(call).code, -32002)

    def test_a_stream_stops_at_the_next_chunk_whatever_it_catches(self):
        code = STARTED + "while True:\n  try:\n    yield 1; time.sleep(0.001)\n  except snakepit.Cancelled: pass"
        self.cancelled("run_stream", code, stream=True, window=1 << 30)

    def test_clean_up(self):
        """finally blocks run undisturbed, and may talk to the host."""
        self.worker.handlers["host.call"] = lambda params, parts: {"value": 1}
        code = STARTED + "try: time.sleep(1e6)\nfinally:\n  time.sleep(0.05); snakepit.host.call('x'); print('clean')"
        self.cancelled("run", code)
        self.assertIn(("info", "clean"), self.worker.logs())
        code = STARTED + "try: await asyncio.sleep(1e6)\nfinally:\n  await snakepit.host.call_async('x'); snakepit.host.call('x'); print('aclean')"
        self.cancelled("run_async", code)
        self.assertIn(("info", "aclean"), self.worker.logs())

    def test_a_tool_may_refuse_to_end(self):
        code = STARTED + "try: time.sleep(1e6)\nexcept snakepit.Cancelled: return 'done'"
        call = self.worker.start("run", {"code": code})
        self.worker.until("log")
        self.worker.cancel(call)
        self.assertEqual(self.worker.answer(call).value(), "done")

    def test_raised_where_python_drops_it(self):
        code = """
class Slow:
    def __del__(self):
        print('started')
        while True: pass
Slow()
print('dropped')
time.sleep(1e6)
"""
        self.cancelled("run", code)
        self.assertIn(("info", "dropped"), self.worker.logs())

    def test_the_state_goes_back(self):
        self.worker.call("recall", session=state(1, {"notes": ["a"]})).value()
        self.cancelled("run", "session.vars['notes'].append('b'); session.vars['x'] = 1\n" + STARTED + "time.sleep(1e6)", session=state(1))
        answer = self.worker.call("run", {"code": "return dict(session.vars)"}, session=state(1))
        self.assertEqual(answer.result, {"value": {"notes": ["a"]}, "local": False, "local_used": False})

    def test_a_call_that_waits_in_the_queue(self):
        first = self.worker.start("run", {"code": "return snakepit.host.call('x')"})
        asked = self.worker.until("host.call").header["id"]
        second, third = (self.worker.start("double", {"n": n}) for n in (2, 3))
        self.worker.cancel(second)
        self.assertEqual(self.worker.answer(second).code, -32002)
        self.worker.send({"id": asked, "result": {"value": 1}})
        self.assertEqual(self.worker.answer(first).value(), 1)
        self.assertEqual(self.worker.answer(third).value(), 6)

    def test_too_late(self):
        call = self.worker.start("double")
        self.worker.answer(call).value()
        self.worker.cancel(call)
        self.assertEqual(self.worker.call("run", {"code": "time.sleep(0.03); return 1"}).value(), 1)

    def test_before_the_code_has_started(self):
        """The call and its cancel arrive together."""
        from tests.fakehost import encode

        for number in range(1000, 1050):
            call = {"id": number, "method": "call", "params": {"tool": "run", "args": {"code": "time.sleep(1e6)"}}}
            self.worker.sock.sendall(encode(call) + encode({"method": "cancel", "params": {"call": number}}))
            self.assertEqual(self.worker.answer(number).code, -32002)

    def test_a_loaded_state_counts_even_if_cancelled(self):
        call = self.worker.start("run", {"code": STARTED + "time.sleep(1e6)"}, session=state(4, {"notes": 1}))
        self.worker.until("log")
        self.worker.cancel(call)
        self.assertEqual(self.worker.answer(call).code, -32002)
        self.assertEqual(self.worker.call("recall", session=state(4)).value(), 1)


class LongCallTest(WorkerTest):
    """The helper's part: hearing the host while a tool runs for long."""

    def test_pings(self):
        host = self.host()
        for code in ("time.sleep(300)", "while True: pass"):
            call = host.start("run", {"code": code})
            for _ in range(10):
                host.ping()
            host.cancel(call)
            self.assertEqual(host.answer(call).code, -32002)

    def test_calls_are_queued_in_order(self):
        host = self.host()
        calls = [host.start("run", {"code": f"time.sleep({0.02 * (i % 2)}); return {i}"}) for i in range(10)]
        for i, call in enumerate(calls):
            self.assertEqual(host.answer(call).value(), i)

    def test_forget_waits_for_the_running_call(self):
        host = self.host()
        call = host.start("run", {"code": "session.local['x'] = 1; time.sleep(0.05)"}, session=state(1, {}))
        host.forget("s1")
        host.answer(call).value()
        self.assertEqual(host.call("recall", session=state(1)).code, -32003)

    def test_idle_uses_no_time(self):
        host = self.host()
        host.call("double").value()

        def used() -> int:
            with open(f"/proc/{host.process.pid}/stat") as f:
                fields = f.read().rpartition(")")[2].split()
            with open(f"/proc/{host.process.pid}/status") as f:
                switches = [line for line in f if line.startswith("voluntary")][0].split()[1]
            return int(fields[11]) + int(fields[12]), int(switches)

        if not os.path.exists("/proc/self/stat"):
            self.skipTest("needs /proc")
        time.sleep(0.8)  # until the helper is parked
        threads = f"/proc/{host.process.pid}/task"

        def switches() -> int:
            total = 0
            for task in os.listdir(threads):
                with open(f"{threads}/{task}/status") as f:
                    total += sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)
            return total

        before = switches()
        time.sleep(0.3)
        self.assertLess(switches() - before, 5)
        self.assertEqual(host.call("double").value(), 2)


if __name__ == "__main__":
    unittest.main()
