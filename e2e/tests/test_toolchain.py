"""Building tools: once, whole or not at all, and with errors that say what to do."""

import os
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

from stacklib import toolchain
from stacklib.paths import StackError
from tests.support import E2E


class Cache(unittest.TestCase):
    """What `_ensure` leaves in the cache."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.cache = Path(scratch.name)
        previous = os.environ.get("XDG_CACHE_HOME")
        os.environ["XDG_CACHE_HOME"] = scratch.name
        self.addCleanup(lambda: os.environ.pop("XDG_CACHE_HOME") if previous is None
                        else os.environ.update(XDG_CACHE_HOME=previous))
        self.said: list[str] = []

    def ensure(self, build, **rest) -> Path:
        return toolchain._ensure("tool-0", "a tool", "1 s", build, self.said.append, **rest)

    def names(self) -> list[str]:
        return sorted(path.name for path in (self.cache / "securebucket" / "tools").iterdir())

    def test_built_once(self) -> None:
        built = []
        for _ in range(2):
            found = self.ensure(lambda directory: (built.append(1), (directory / "tool").touch()))
        self.assertEqual((len(built), (found / "tool").exists()), (1, True))
        self.assertEqual(self.names(), ["tool-0", "tool-0.lock"])
        self.assertIn("usually 1 s", self.said[0])
        self.assertIn("built a tool in", self.said[1])

    def test_a_failed_build_leaves_nothing(self) -> None:
        def build(directory: Path) -> None:
            (directory / "half").touch()
            raise StackError("no compiler")

        with self.assertRaises(StackError):
            self.ensure(build)
        self.assertEqual(self.names(), ["tool-0.lock"])

    def test_leftovers_of_a_killed_build_are_removed(self) -> None:
        self.ensure(lambda directory: None)
        (self.cache / "securebucket" / "tools" / "tool-0").rename(self.cache / "securebucket" / "tools" / ".tool-0.dead")
        self.ensure(lambda directory: None)
        self.assertEqual(self.names(), ["tool-0", "tool-0.lock"])

    def test_an_unusable_tool_is_built_again(self) -> None:
        self.ensure(lambda directory: (directory / "old").touch())
        found = self.ensure(lambda directory: (directory / "new").touch(),
                            usable=lambda directory: not (directory / "old").exists())
        self.assertEqual([path.name for path in found.iterdir()], ["new"])

    def test_two_processes_build_once(self) -> None:
        program = textwrap.dedent("""
            import time
            from stacklib import toolchain
            def build(directory):
                print("building", flush=True)
                time.sleep(0.5)
            toolchain._ensure("tool-0", "a tool", "1 s", build, lambda text: None)
        """)
        children = [subprocess.Popen([sys.executable, "-c", program], cwd=E2E, stdout=subprocess.PIPE, text=True)
                    for _ in range(3)]
        self.assertEqual("".join(child.communicate()[0] for child in children), "building\n")
        self.assertEqual([child.returncode for child in children], [0, 0, 0])


class Pins(unittest.TestCase):
    def test_versions_come_from_the_go_module(self) -> None:
        flags = toolchain.KUBERNETES.linker_flags()
        version = toolchain.KUBERNETES.required_version("k8s.io/kubernetes")
        self.assertIn(f"gitVersion={version} ", flags)
        self.assertRegex(flags, r"gitMajor=1 .*gitMinor=\d+$")

    def test_every_python_package_is_pinned(self) -> None:
        lines = [line for line in (E2E / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
        for line in lines:
            self.assertRegex(line, r"^[\w.-]+==[\w.]+$")
        self.assertEqual(subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True).returncode, 0)


class Environment(unittest.TestCase):
    def test_incomplete_kubebuilder_assets(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            previous = os.environ.get("KUBEBUILDER_ASSETS")
            os.environ["KUBEBUILDER_ASSETS"] = directory
            try:
                with self.assertRaisesRegex(StackError, "has no executable etcd, kube-apiserver, kubectl: unset it"):
                    toolchain._assets_from_environment()
            finally:
                os.environ.pop("KUBEBUILDER_ASSETS") if previous is None else os.environ.update(
                    KUBEBUILDER_ASSETS=previous)

    def test_a_failing_step_shows_its_output(self) -> None:
        with self.assertRaisesRegex(StackError, r"could not build x \(exit code 3\)(.|\n)*no such module"):
            toolchain._run(["sh", "-c", "echo no such module; exit 3"], "build x", lambda text: None)
