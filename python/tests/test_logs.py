"""print() and logging: to the host, with their call, never into the protocol."""

import unittest

from tests.fakehost import WorkerTest


class LogTest(WorkerTest):
    def setUp(self):
        self.worker = self.host()

    def logged(self, code: str, tool="run", worker=None) -> list:
        """(level, logger, message) of what a call logs."""
        worker = worker or self.worker
        worker.notes.clear()
        call = worker.start(tool, {"code": code})
        worker.answer(call).value()
        params = [note.params for note in worker.notes if note.method == "log"]
        for p in params:
            self.assertEqual(p["call"], call)
        return [(p["level"], p["logger"], p["message"]) for p in params]

    def test_print(self):
        self.assertEqual(
            self.logged("print('a', 1)\nprint('b\\nc')\nprint('err', file=sys.stderr)\nprint()\nprint('d', end='')"),
            [("info", "stdout", m) for m in ("a 1", "b", "c")] + [("warning", "stderr", "err"), ("info", "stdout", "d")],
        )

    def test_lines_come_together(self):
        code = "for c in 'abc': print(c, end='', flush=True)\nprint()\nsys.stdout.write('x'); sys.stdout.writelines(['y', 'z\\n'])"
        self.assertEqual([m for _, _, m in self.logged(code)], ["abc", "xyz"])

    def test_progress_bars(self):
        code = "for i in range(5): print(f'\\r{i}0%', end='', file=sys.stderr)\nprint(file=sys.stderr)\nprint('dos\\r')"
        self.assertEqual([m for _, _, m in self.logged(code)], ["40%", "dos"])

    def test_bytes_and_odd_texts(self):
        code = "sys.stdout.buffer.write(b'raw \\xff\\n'); print('\\ud800')"
        self.assertEqual([m for _, _, m in self.logged(code)], ["raw \ufffd", "\\ud800"])

    def test_long_lines(self):
        lines = self.logged("print('x' * 200000)")
        self.assertEqual(["x" * len(m) for _, _, m in lines], [m for _, _, m in lines])
        self.assertEqual([len(m) for _, _, m in lines], [65536, 65536, 65536, 200000 - 3 * 65536])
        (_, _, message), = self.logged("logging.info('x' * 200000)")
        self.assertEqual(message, "x" * 65536 + "... (200000 characters)")
        lines = self.logged("for _ in range(200): print('y' * 1000, end='')")
        self.assertEqual(sum(len(m) for _, _, m in lines), 200000)

    def test_the_stream_is_a_stream(self):
        code = """
assert not sys.stdout.isatty() and sys.stdout.writable() and sys.stdout.encoding == 'utf-8'
assert (sys.stdout.fileno(), sys.stderr.fileno()) == (1, 2)
sys.stdout.reconfigure(line_buffering=True)
sys.stdout.close(); print('open')
try: sys.stdout.write(b'x')
except TypeError: print('TypeError')
import subprocess; subprocess.run(['echo', 'from a child'], stdout=sys.stdout)
"""
        self.assertEqual([m for _, _, m in self.logged(code)], ["open", "TypeError"])
        self.assertIn("from a child", self.worker.printed())
        self.logged("os.write(1, b'on fd 1')")
        self.assertIn("on fd 1", self.worker.printed())

    def test_logging(self):
        code = "log = logging.getLogger('my.lib')\nlog.debug('d %d', 1); log.info('i'); log.warning('w'); log.error('e'); log.critical('c')"
        self.assertEqual(
            self.logged(code),
            [(level, "my.lib", m) for level, m in [("debug", "d 1"), ("info", "i"), ("warning", "w"), ("error", "e"), ("error", "c")]],
        )

    def test_attributes(self):
        self.logged("logging.info('x', extra={'n': 1, 'f': float('nan'), 'o': {1}, 's': 'ü', 'none': None})")
        self.assertEqual(self.worker.notes[0].params["attrs"], {"n": 1, "f": "nan", "o": "{1}", "s": "ü", "none": None})
        self.logged("try: 1 / 0\nexcept ZeroDivisionError: logging.exception('oh')")
        self.assertIn("ZeroDivisionError: division by zero", self.worker.notes[0].params["attrs"]["exception"])
        self.logged("logging.info('x', stack_info=True)")
        self.assertIn("Stack", self.worker.notes[0].params["attrs"]["stack"])
        self.logged("logging.info('x')")
        self.assertNotIn("attrs", self.worker.notes[0].params)

    def test_a_record_that_cannot_be_formatted_does_no_harm(self):
        logged = self.logged("logging.info('%d', 'x')")
        self.assertTrue(any("Logging error" in m for _, _, m in logged), logged)

    def test_async(self):
        self.assertEqual(self.logged("await asyncio.gather(asyncio.to_thread(print, 'a'))", "run_async")[-1][2], "a")

    def test_outside_of_a_call(self):
        self.worker.notes.clear()
        self.worker.call("run", {"code": "t = threading.Thread(target=print, args=('x',)); t.start(); t.join()"}).value()
        self.assertNotIn("call", self.worker.notes[0].params)

    def test_threads_do_not_mix_their_lines(self):
        code = """
def say(c):
    for _ in range(50):
        for _ in range(20): print(c, end='')
        print()
threads = [threading.Thread(target=say, args=(c,)) for c in 'abc']
for t in threads: t.start()
for t in threads: t.join()
"""
        self.worker.notes.clear()
        self.worker.call("run", {"code": code}).value()
        lines = sorted(message for _, message in self.worker.logs("stdout"))
        self.assertEqual(lines, ["a" * 20] * 50 + ["b" * 20] * 50 + ["c" * 20] * 50)

    def test_levels(self):
        code = "print('out'); print('err', file=sys.stderr); logging.info('i'); logging.warning('w'); logging.error('e')"
        for level, expected in [("info", ["out", "err", "i", "w", "e"]), ("warning", ["err", "w", "e"]), ("error", ["e"])]:
            worker = self.host(log_level=level)
            self.assertEqual([m for _, _, m in self.logged(code, worker=worker)], expected)

    def test_a_level_the_tools_set_stays(self):
        path = self.tools(
            """
            import logging
            from snakepit import tool
            logging.getLogger().setLevel(logging.ERROR)
            logging.basicConfig(level=logging.DEBUG)  # does nothing: there is a handler
            @tool
            def log():
                logging.warning("w"); logging.error("e")
            """
        )
        worker = self.host(path)
        worker.call("log").value()
        self.assertEqual(worker.logs(), [("error", "e")])

    def test_while_loading(self):
        path = self.tools(
            """
            import logging, sys
            from snakepit import tool
            print("loading")
            logging.getLogger("x").warning("careful")
            out = sys.stdout
            @tool
            def show(): print("kept", file=out)
            """
        )
        worker = self.host(path)
        self.assertIn("loading\ncareful\n", worker.printed())
        worker.call("show").value()
        self.assertEqual(worker.logs(), [("info", "kept")])


if __name__ == "__main__":
    unittest.main()
