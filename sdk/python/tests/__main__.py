"""Runs all tests of this folder, or those named: `python sdk/python/tests [test_sessions …]`."""

import sys
import unittest
from pathlib import Path

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS.parent / "src"), str(TESTS.parent), str(TESTS)]

if __name__ == "__main__":
    names = sys.argv[1:] or ["discover", "--start-directory", str(TESTS)]
    unittest.main(module=None, argv=["sdk/python/tests", *names])
