"""The process: start, failures to start, end, signals, children."""

import glob
import os
import shutil
import signal
import subprocess
import sys
import unittest

from tests.fakehost import PYTHON_DIR, WorkerTest, state


class StartTest(WorkerTest):
    def failed(self, tools: str, **options):
        host = self.host(tools, greet=False, **options)
        message = host.receive()
        self.assertEqual(message.method, "start_failed", message)
        self.assertIsNone(host.receive(expect_end=True))
        self.assertEqual(host.exit_status(), 3)
        return message.params

    def test_an_import_that_fails(self):
        path = self.tools("import os\nimport no_such_module\n")
        params = self.failed(path)
        self.assertEqual(params["type"], "ModuleNotFoundError")
        self.assertIn("no_such_module", params["message"])
        lines = params["traceback"].splitlines()
        self.assertIn(f'  File "{path}", line 2, in <module>', lines)
        self.assertEqual(len([line for line in lines if line.startswith("  File")]), 1)

    def test_other_failures(self):
        for source, kind, contains in [
            ("def f(:", "SyntaxError", ""),
            ("x = 1", "snakepit.DefinitionError", "defines no tool; decorate a function with @snakepit.tool"),
            ("exit(5)", "SystemExit", "5"),
            ("raise KeyboardInterrupt", "KeyboardInterrupt", ""),
            ("from snakepit import tool\n@tool\ndef f(*args): pass", "snakepit.DefinitionError", "*args"),
            ("from snakepit import tool\n@tool\ndef f(x: 'Nothing'): pass", "snakepit.DefinitionError", "Nothing"),
            ("from snakepit import tool\ntool(name='a')(lambda: 1)\ntool(name='a')(lambda x: 1)\n@tool(name='a')\ndef b(): pass", "snakepit.DefinitionError", "two tools are named 'a'"),
            ("import enum\nfrom snakepit import tool\nE = enum.Enum('E', {'A': object()})\n@tool\ndef f(x: E): pass", "snakepit.DefinitionError", "choice"),
        ]:
            with self.subTest(source=source):
                params = self.failed(self.tools(source))
                self.assertIn(kind, params["type"])
                self.assertIn(contains, params["message"])

    def test_no_such_file_or_module(self):
        self.assertIn("/no/such.py", self.failed("/no/such.py")["message"])
        self.assertIn("no_such", self.failed("no_such")["message"])
        self.assertIn("rename it", self.failed(self.tools("", name="json.py"))["message"])

    def test_a_module(self):
        path = self.tools("from snakepit import tool\nimport helper\n@tool\ndef f(): return helper.N")
        folder = os.path.dirname(path)
        with open(os.path.join(folder, "helper.py"), "w") as f:
            f.write("N = 5")
        os.mkdir(os.path.join(folder, "pkg"))
        shutil.copy(path, os.path.join(folder, "pkg", "inner.py"))
        self.assertEqual(self.host(path).call("f").value(), 5)
        self.assertEqual(self.host("tools", path=[folder]).call("f").value(), 5)
        self.assertEqual(self.host("pkg.inner", path=[folder]).call("f").value(), 5)

    def test_tools_of_other_modules_are_offered_too(self):
        path = self.tools("import helper")
        with open(os.path.join(os.path.dirname(path), "helper.py"), "w") as f:
            f.write("from snakepit import tool\n@tool\ndef f(): return __name__")
        self.assertEqual(self.host(path).call("f").value(), "helper")

    def test_odd_file_names(self):
        path = self.tools("from snakepit import tool\n@tool\ndef f(): return __name__", name="my tools-1.py")
        self.assertEqual(self.host(path).call("f").value(), "my tools-1")

    def test_what_the_tools_find(self):
        path = self.tools("import sys, os\nfrom snakepit import tool\n@tool\ndef f(): return [sys.argv, 'SNAKEPIT_FD' in os.environ, os.environ['SNAKEPIT_WORKER']]")
        self.assertEqual(self.host(path).call("f").value(), [[path], False, "test-1"])

    def test_without_a_host(self):
        env = {**os.environ, "PYTHONPATH": PYTHON_DIR}
        for args in (["tools.py"], []):
            done = subprocess.run([sys.executable, "-m", "snakepit", *args], env=env, capture_output=True, text=True)
            self.assertEqual(done.returncode, 2)
            self.assertIn("started by its host", done.stderr)

    def test_interpreter_options(self):
        for args in (["-O"], ["-S"], ["-W", "error"], ["-X", "dev"], ["-u"]):
            with self.subTest(args=args):
                host = self.host(args=args)
                self.assertEqual(host.call("run_async", {"code": "return 1"}).value(), 1)
                host.answer(host.request("shutdown", {}))
                self.assertEqual(host.exit_status(), 0, host.printed())
                self.assertEqual(host.printed(), "")

    def test_old_pythons(self):
        found = [
            python
            for version in ("2.7", "3.6", "3.7", "3.8")
            for python in [*glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python{version}"))[:1], shutil.which(f"python{version}")]
            if python and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0
        ]
        if not found:
            self.skipTest("no Python before 3.9 here")
        for python in found:
            with self.subTest(python=python):
                host = self.host(python=python, greet=False)
                message = host.receive()
                self.assertEqual(message.method, "start_failed")
                self.assertRegex(message.params["message"], r"needs Python 3\.9 or newer; this is [23]\.\d")
                self.assertEqual(host.exit_status(), 3)
                done = subprocess.run([python, "-c", "import snakepit"], env={**os.environ, "PYTHONPATH": PYTHON_DIR}, capture_output=True)
                self.assertIn(b"needs Python 3.9 or newer", done.stderr)


class EndTest(WorkerTest):
    def test_end_of_the_socket(self):
        for code in (None, "time.sleep(1e6)", "while True: pass", "snakepit.host.call('x')", "try: time.sleep(1e6)\nfinally: time.sleep(1e6)"):
            with self.subTest(code=code):
                host = self.host()
                if code:
                    host.start("run", {"code": "print('started')\n" + code})
                    host.until("log")
                host.sock.close()
                self.assertEqual(host.exit_status(), 0)
        host = self.host()
        host.start("run_async", {"code": "print('started'); await asyncio.sleep(1e6)"})
        host.until("log")
        host.sock.close()
        self.assertEqual(host.exit_status(), 0)

    def test_end_while_a_stream_waits_for_credit(self):
        host = self.host()
        host.start("countdown", {"n": 5}, stream=True, window=1)
        host.until("chunk")
        host.sock.close()
        self.assertEqual(host.exit_status(), 0)

    def test_shutdown(self):
        host = self.host()
        call = host.start("run", {"code": "import atexit; atexit.register(os.write, 1, b'atexit'); return snakepit.host.call('x')"})
        asked = host.until("host.call").header["id"]
        shutdown = host.request("shutdown", {})
        host.ping()
        host.send({"id": asked, "result": {"value": 1}})
        self.assertEqual(host.answer(call).value(), 1)
        self.assertEqual(host.answer(shutdown).result, {})
        self.assertIsNone(host.receive(expect_end=True))
        self.assertEqual(host.exit_status(), 0)
        self.assertEqual(host.printed(), "atexit")

    def test_sigterm(self):
        host = self.host()
        host.process.send_signal(signal.SIGTERM)
        self.assertIsNone(host.receive(expect_end=True))
        self.assertEqual(host.exit_status(), 0)

    def test_sigterm_during_a_call(self):
        for before in ("", "time.sleep(0.05)\n"):
            host = self.host()
            call = host.start("run", {"code": before + "return snakepit.host.call('x')"})
            asked = host.until("host.call").header["id"]
            host.process.send_signal(signal.SIGTERM)
            host.ping()
            host.send({"id": asked, "result": {"value": 1}})
            self.assertEqual(host.answer(call).value(), 1)
            self.assertIsNone(host.receive(expect_end=True))
            self.assertEqual(host.exit_status(), 0)

    def test_sigterm_after_calls(self):
        """Whatever the worker has read is answered."""
        for _ in range(20):
            host = self.host()
            call = host.start("double")
            host.process.send_signal(signal.SIGTERM)
            message = host.receive(expect_end=True)
            if message is not None:
                self.assertEqual((message.header["id"], message.value()), (call, 2))
                self.assertIsNone(host.receive(expect_end=True))
            self.assertEqual(host.exit_status(), 0)

    def test_sigint_is_ignored(self):
        host = self.host()
        host.process.send_signal(signal.SIGINT)
        call = host.start("run", {"code": "return snakepit.host.call('x')"})
        asked = host.until("host.call").header["id"]
        host.process.send_signal(signal.SIGINT)
        host.ping()
        host.send({"id": asked, "result": {"value": 1}})
        self.assertEqual(host.answer(call).value(), 1)

    def test_a_stray_sigurg_does_nothing(self):
        host = self.host()
        call = host.start("run", {"code": "os.kill(os.getpid(), signal.SIGURG); time.sleep(0.02); return 1"})
        host.process.send_signal(signal.SIGURG)
        self.assertEqual(host.answer(call).value(), 1)

    def test_a_crash_leaves_a_traceback(self):
        host = self.host()
        host.start("run", {"code": "import ctypes; ctypes.string_at(0)"})
        self.assertIsNone(host.receive(expect_end=True))
        self.assertEqual(host.exit_status(), -signal.SIGSEGV)
        self.assertIn("Segmentation fault", host.printed())
        self.assertIn("worker_tools.py", host.printed())


class ChildrenTest(WorkerTest):
    def test_forked_children_do_not_touch_the_protocol(self):
        host = self.host()
        code = """
child = os.fork()
if not child:
    print('in the child', flush=True)
    logging.warning('of the child')
    try: snakepit.host.call('x')
    except snakepit.Error as e: print(e, flush=True)
    try: snakepit.event('x')
    except snakepit.Error as e: print(e, flush=True)
    os._exit(7)
return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
        self.assertEqual(host.call("run", {"code": code}).value(), 7)
        self.assertEqual(host.logs(), [])
        self.assertIn("in the child\n", host.printed())
        self.assertIn("of the child\n", host.printed())
        self.assertEqual(host.printed().count("cannot be reached from a forked child"), 2)

    def test_a_forked_child_that_comes_back_from_the_tool(self):
        host = self.host()
        for end in ("return 1", "raise ValueError"):
            code = f"child = os.fork()\nif not child:\n  {end}\nreturn os.waitpid(child, 0)[1]"
            self.assertEqual(host.call("run", {"code": code}).value(), 0)

    def test_a_child_does_not_keep_the_socket_open(self):
        host = self.host()
        code = """
read, write = os.pipe()
child = os.fork()
if not child:
    os.write(write, b'x')
    signal.pause()
os.read(read, 1)
return child
"""
        child = host.call("run", {"code": code}).value()
        self.addCleanup(os.kill, child, signal.SIGKILL)
        sleeper = "import subprocess; return subprocess.Popen(['sleep', '1000']).pid"
        sleeper = host.call("run", {"code": sleeper}).value()
        self.addCleanup(os.kill, sleeper, signal.SIGKILL)
        host.process.kill()
        self.assertIsNone(host.receive(expect_end=True))

    def test_signals_of_children_are_their_own(self):
        host = self.host()
        code = """
child = os.fork()
if not child:
    signal.pause()
os.kill(child, signal.SIGTERM)  # as early as can be
return os.waitpid(child, 0)[1]
"""
        for _ in range(50):
            self.assertEqual(host.call("run", {"code": code}).value(), signal.SIGTERM)
        host.process.send_signal(signal.SIGTERM)  # which the worker itself still heeds
        self.assertEqual(host.exit_status(), 0)

    def test_multiprocessing(self):
        path = self.tools(
            """
            import multiprocessing
            from snakepit import tool

            def double(n):
                print("doubling", n)
                return 2 * n

            @tool
            def work(method: str, n: int):
                context = multiprocessing.get_context(method)
                with context.Pool(2) as pool:
                    return pool.map(double, range(n))
            """
        )
        host = self.host(path)
        for method in ("fork", "spawn", "forkserver"):
            with self.subTest(method=method):
                self.assertEqual(host.call("work", {"method": method, "n": 4}).value(), [0, 2, 4, 6])
        host.ping()
        self.assertEqual([message for _, message in host.logs("stdout")], [])


class SessionLimitTest(WorkerTest):
    def test_old_sessions_are_forgotten(self):
        host = self.host()
        for i in range(1025):
            host.call("double", session=state(1, {}, id=str(i))).value()
        self.assertEqual(host.call("double", session=state(1, id="0")).code, -32003)
        self.assertEqual(host.call("double", session=state(1, id="1")).value(), 2)


if __name__ == "__main__":
    unittest.main()
