#!/usr/bin/env python3
"""The end-to-end test: a server of its own, real clients, every door. Start it with run.sh.

    run.sh                          everything
    run.sh -k kill -k flights       tests whose name contains one of these
    run.sh doors.ConsistencyTest    one module, class or test
    run.sh --failfast
"""
import argparse
import faulthandler
import os
import sys
import time
import unittest

sys.dont_write_bytecode = True
import lake  # noqa: E402
from clients import LakeTest  # noqa: E402

MODULES = ["versions", "commands", "doors", "gateway", "users", "links", "operations", "hooks", "settings", "files", "refusals", "faults", "golden", "attacks", "disk", "inside", "watch", "remote", "stress", "cuts"]


class Result(unittest.TextTestResult):
    """Tells the time each test took."""

    def startTest(self, test):
        self.began = time.monotonic()
        super().startTest(test)

    def stopTest(self, test):
        self.stream.writeln(f"    {time.monotonic() - self.began:.1f} s")
        super().stopTest(test)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=MODULES)
    parser.add_argument("-k", action="append", metavar="TEXT", help="only tests whose name contains TEXT")
    parser.add_argument("--failfast", action="store_true", help="stop at the first failure")
    options = parser.parse_args()
    if not os.access(lake.BINARY, os.X_OK):
        sys.exit(f"{lake.BINARY} is not there: run `make build`, or name the binary in LAKEFUSE_BINARY")
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{text}*" for text in options.k] if options.k else None
    tests = loader.loadTestsFromNames(options.names)

    faulthandler.dump_traceback_later(850)  # run.sh ends the test at 900 s; then it is good to know where it hung
    LakeTest.folder = lake.work_folder("e2e")
    LakeTest.lake = lake.Lake(LakeTest.folder).start()
    began = time.monotonic()
    result = unittest.TextTestRunner(verbosity=2, resultclass=Result, failfast=options.failfast).run(tests)
    stopped = LakeTest.lake.stop()[0] if LakeTest.lake.process.poll() is None else "gone"
    failed = len({(getattr(test, "test_case", test)).id() for test, _ in result.failures + result.errors})
    if failed or stopped != 0:
        print(LakeTest.lake.log_tail(40))
    print(f"the lake's server ended with {stopped}; {time.monotonic() - began:.0f} s")
    print(f"{result.testsRun - failed - len(result.skipped)} passed, {failed} failed, {len(result.skipped)} skipped")
    return 0 if result.wasSuccessful() and stopped == 0 and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main())
