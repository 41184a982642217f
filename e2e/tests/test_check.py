"""What `make test` makes of the output of its steps."""

import unittest

from stacklib.check import broken_runs, campaigns, cargo_counts, failures, unittest_counts

CARGO = """\
running 3 tests
test grants::expires ... ok
test grants::handed_back ... FAILED
test roles::narrows ... ok

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s
"""

UNITTEST = """\
FAIL: test_names (e2e.tests.test_chart.Chart.test_names)
ERROR: test_values (e2e.tests.test_chart.Chart.test_values)
Ran 30 tests in 4.2s

FAILED (failures=1, errors=1)
"""


class Counting(unittest.TestCase):
    def test_cargo(self) -> None:
        self.assertEqual(cargo_counts(CARGO), (2, 1))
        self.assertEqual(cargo_counts("no test here"), (0, 0))

    def test_unittest(self) -> None:
        self.assertEqual(unittest_counts(UNITTEST), (28, 2))
        self.assertEqual(unittest_counts("Ran 1 test in 0.1s\n\nOK\n"), (1, 0))


class Naming(unittest.TestCase):
    def test_what_failed_is_named_once(self) -> None:
        self.assertEqual(failures(CARGO + CARGO), ["grants::handed_back"])
        self.assertEqual(failures(UNITTEST), ["test_names (e2e.tests.test_chart.Chart.test_names)",
                                              "test_values (e2e.tests.test_chart.Chart.test_values)"])
        self.assertEqual(failures("error[E0425]: cannot find value\n  --> src/lib.rs\n"), ["error[E0425]: cannot find value"])

    def test_a_fault_that_was_not_survived_is_named(self) -> None:
        output = "x\nfaults: FAULT='A:kms CreateKey#1:Delay' (hit request 3 of 9, 3.0s):\nS1: an Allow without an end\nmore\nfaults: scenario A: 50 of 57 runs\n"
        self.assertEqual(broken_runs(output), ["FAULT='A:kms CreateKey#1:Delay' (hit request 3 of 9, 3.0s):", "S1: an Allow without an end"])
        self.assertEqual(broken_runs("faults: scenario A: 50 of 57 runs after 102s\n"), [])

    def test_campaigns_say_how_many_runs_there_were(self) -> None:
        line = "faults: scenario A: N=219 requests, 57 runs (1 kinds: Delay 57), all converged; 9 attempts to read\n"
        self.assertEqual(campaigns("x\n" + line), [line.partition(";")[0]])
        cut = line.replace("converged;", "converged, 9 more NOT MADE within FAULTS_MINUTES;")
        self.assertEqual(campaigns(cut), [cut.partition(";")[0]])
        self.assertEqual(campaigns("faults: scenario A: 50 of 57 runs after 102s\n"), [])

    def test_a_long_list_is_cut(self) -> None:
        output = "".join(f"test number_{n} ... FAILED\n" for n in range(20))
        self.assertEqual(len(failures(output)), 13)
        self.assertEqual(failures(output)[-1], "… and 8 more")


if __name__ == "__main__":
    unittest.main()
