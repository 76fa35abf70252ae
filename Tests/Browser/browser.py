"""The web page as people use it: every page and every deed, in Chromium, in both themes and two widths, with and without scripts."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "EndToEnd"))

from deeds import *  # noqa: E402, F403
from looks import *  # noqa: E402, F403

if __name__ == "__main__":
    unittest.main(verbosity=2)
