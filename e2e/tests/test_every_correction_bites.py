"""No correction without a test that fails when the correction is left out."""

import io
import os
import re
import subprocess
import sys
import unittest

from tests import (
    support,
    test_corrections_callers,
    test_corrections_iam,
    test_corrections_kms,
    test_corrections_s3,
)

MODULES = (test_corrections_callers, test_corrections_iam, test_corrections_kms, test_corrections_s3)


def tested() -> dict[str, type[support.EmulatorTest]]:
    """The test class of each correction."""
    return {value.correction: value for module in MODULES for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, support.EmulatorTest) and value.correction}


def registered() -> list[str]:
    """The names of all corrections, from the emulator's own list."""
    program = ("from emulator import server, corrections; import importlib; "
               "[importlib.import_module(f'emulator.{name}') for name in server.CORRECTION_MODULES]; "
               "print(*(one.name for one in corrections.CORRECTIONS))")
    printed = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True,
                             env={**os.environ, "PYTHONPATH": str(support.E2E), "AUTH": "true"})
    return printed.stdout.split()


class EveryCorrectionBites(unittest.TestCase):
    """Each class of the modules above is run against an emulator that lacks its correction, and must fail."""

    def test_all_have_a_test(self) -> None:
        self.assertEqual(sorted(registered()), sorted(tested()))

    def test_each_test_states_behaviour_and_source(self) -> None:
        for name, case in tested().items():
            with self.subTest(name):
                self.assertIn("Source:", case.__doc__ or "")

    def test_the_readme_lists_all(self) -> None:
        table = (support.E2E / "README.md").read_text().split("## What the emulator corrects")[1].split("\n## ")[0]
        rows = "".join(line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `"))
        self.assertEqual(sorted(re.findall(r"`([a-z0-9-]+)`", rows)), sorted(registered()))

    def test_each_fails_without_its_correction(self) -> None:
        for name, case in tested().items():
            with self.subTest(name), support.emulator(without=name) as endpoint, support.talking_to(endpoint):
                result = unittest.TextTestRunner(stream=io.StringIO()).run(
                    unittest.defaultTestLoader.loadTestsFromTestCase(case))
                self.assertFalse(result.wasSuccessful(), f"{case.__name__} passes without {name}")


class LoudFailures(unittest.TestCase):
    """A correction that cannot be applied stops the emulator."""

    def fails(self, preparation: str) -> str:
        program = f"import sys; sys.argv = ['emulator', '--port', '1', '--issuer-key', {str(support.ISSUER_KEY)!r}]\n" \
                  f"import os; os.environ['AUTH'] = 'true'\n{preparation}\nfrom emulator.__main__ import main; main()"
        ended = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True,
                               env={**os.environ, "PYTHONPATH": str(support.E2E)})
        self.assertEqual(ended.returncode, 1, ended.stderr)
        return ended.stderr

    def test_missing_symbol(self) -> None:
        self.assertIn("_grant_entry is gone",
                      self.fails("import ministack.services.kms as kms; del kms._grant_entry"))

    def test_changed_parameters(self) -> None:
        self.assertIn("_create_grant takes", self.fails(
            "import ministack.services.kms as kms; kms._create_grant = lambda request, scope: None"))

    def test_other_version(self) -> None:
        self.assertIn("were written for ministack", self.fails(
            "import importlib.metadata as m; known = m.version; "
            "m.version = lambda name: '9.9' if name == 'ministack' else known(name)"))

    def test_unknown_name_in_emulator_without(self) -> None:
        self.assertIn("names no correction: nonsense", self.fails("os.environ['EMULATOR_WITHOUT'] = 'nonsense'"))
