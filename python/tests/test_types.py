"""The file that type checkers are given (tests/typing) works as they are told."""

import unittest

from snakepit import tools
from tests.typing import tools as sample


class SampleTest(unittest.TestCase):
    def tearDown(self):
        # Its tools have names that other tests use.
        tools._definitions[:] = [made for made in tools._definitions if made.module != sample.__name__]

    def test_it_runs(self):
        sample.check()
        names = {made.name for made in map(tools.as_tool, (sample.draw, sample.recall, sample.later))}
        self.assertEqual(names, {"draw", "other", "later"})


if __name__ == "__main__":
    unittest.main()
