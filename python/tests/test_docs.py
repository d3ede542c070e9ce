"""The examples of docs/python.md, as they are written there."""

import os
import re
import sys
import types
import unittest

from snakepit import testing, tools
from tests.fakehost import PYTHON_DIR

PAGE = os.path.join(os.path.dirname(PYTHON_DIR), "docs", "python.md")


@unittest.skipUnless(os.path.exists(PAGE), "docs/python.md is not here")
class PageTest(unittest.TestCase):
    def test_examples(self):
        with open(PAGE, encoding="utf-8") as f:
            blocks = re.findall(r"^```python\n(.*?)^```", f.read(), re.MULTILINE | re.DOTALL)
        self.assertGreater(len(blocks), 6)
        module = types.ModuleType("tests.page")
        sys.modules["tests.page"] = module  # where dataclasses look themselves up
        self.addCleanup(sys.modules.pop, "tests.page")
        names = vars(module)
        for block in blocks:
            exec(compile(block, PAGE, "exec"), names)
        tests = [name for name in names if name.startswith("test_")]
        self.assertGreater(len(tests), 4)
        for name in tests:
            with self.subTest(test=name):
                names[name]()
        session = testing.Session(vars={"pattern": "a+b"})
        self.assertTrue(testing.call(names["matches"], session=session, text="xaab"))
        session.vars["pattern"] = "c"
        self.assertFalse(testing.call(names["matches"], session=session, text="xaab"))
        session = testing.Session(programs={"log": b"1\n2\n"})
        for lines in (b"1\n2\n", b"", b""):
            session.programs["log"] = lines
            self.assertEqual(testing.call(names["count_lines"], session=session), len(lines) // 2)
        testing.call(names["drop"], session=session, name="nothing")
        self.assertEqual(testing.call(names["draw"], points=[{"x": 1}]), "line of 1")
        with self.assertRaises(Exception) as caught:
            testing.call(names["draw"], points=[{"x": 1}, {"x": "a"}])
        with open(PAGE, encoding="utf-8") as f:
            self.assertIn("    " + str(caught.exception), f.read())
        for value in names.values():
            if hasattr(value, "__snakepit_tool__"):
                tools.as_tool(value).describe()


if __name__ == "__main__":
    unittest.main()
