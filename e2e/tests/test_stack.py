"""`e2e/stack`: up, down, run, and what a crash leaves behind (nothing)."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stacklib import process
from tests.support import E2E

STACK = [sys.executable, str(E2E / "stack")]
WITHIN_SECONDS = 30.0


def running_in(directory: Path) -> list[int]:
    """The processes that work in the state directory: every server of a stack does."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            # A removed directory shows as "<path> (deleted)".
            if entry.name.isdigit() and os.readlink(entry / "cwd").removesuffix(" (deleted)") == str(directory):
                if process.birth_of(int(entry.name)) is not None:
                    found.append(int(entry.name))
    return found


@unittest.skipUnless(Path("/proc/self/stat").exists(), "looks for processes in /proc")
class StackTest(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.state = Path(scratch.name).resolve() / "state"
        self.env = {name: value for name, value in os.environ.items() if name != "SECUREBUCKET_STACK"}
        self.env["SECUREBUCKET_STATE"] = str(self.state)
        self.addCleanup(self.stack, "down")

    def stack(self, *arguments: str, **rest: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*STACK, *arguments], env=self.env, text=True, capture_output=True, **rest)

    def up(self, *arguments: str) -> dict:
        done = self.stack("up", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(Path(done.stdout.strip()).read_text())

    def pids(self) -> dict[str, int]:
        return {name: record["pid"] for name, record in process.recorded(self.state).items()}

    def assert_nothing_left(self) -> None:
        deadline = time.monotonic() + WITHIN_SECONDS
        while (running_in(self.state) or self.state.exists()) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(running_in(self.state), [])
        self.assertFalse(self.state.exists())

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        child = subprocess.Popen([*STACK, *arguments], env=self.env, text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            yield child
        finally:
            child.kill()
            child.communicate()


class UpAndDown(StackTest):
    def test_up_is_idempotent_and_down_is_repeatable(self) -> None:
        first, pids = self.up(), self.pids()
        self.assertEqual(sorted(pids), ["emulator", "etcd", "kube-apiserver"])
        self.assertEqual((self.up(), self.pids()), (first, pids))
        self.assertEqual(self.stack("down").returncode, 0)
        self.assert_nothing_left()
        self.assertEqual(self.stack("down").returncode, 0)

    def test_two_at_once_make_one_stack(self) -> None:
        with self.started("up") as one, self.started("up") as other:
            outputs = [child.communicate()[0] for child in (one, other)]
        self.assertEqual(outputs[0], outputs[1])
        self.assertEqual(len(running_in(self.state)), 3)

    def test_each_server_is_in_a_session_of_its_own(self) -> None:
        self.up()
        for pid in self.pids().values():
            self.assertEqual((os.getsid(pid), os.getpgid(pid)), (pid, pid))

    def test_a_half_dead_stack_is_replaced(self) -> None:
        for victim in ("etcd", "kube-apiserver", "emulator"):
            with self.subTest(victim):
                self.up()
                before = self.pids()
                os.kill(before[victim], signal.SIGKILL)
                self.up()
                self.assertFalse(set(before.values()) & set(self.pids().values()))
                self.assertEqual(len(running_in(self.state)), 3)

    def test_a_stack_without_description_is_replaced(self) -> None:
        self.up()
        (self.state / "stack.json").write_text("{")
        self.up()
        self.assertEqual(len(running_in(self.state)), 3)

    def test_files_of_others_are_left_alone(self) -> None:
        self.state.mkdir()
        (self.state / "thesis.txt").write_text("years of work")
        for command in ("up", "down"):
            done = self.stack(command)
            self.assertEqual(done.returncode, 1)
            self.assertIn("point SECUREBUCKET_STATE to a directory that does not exist yet", done.stderr)
        self.assertTrue((self.state / "thesis.txt").exists())

    def test_a_stranger_with_a_recorded_pid_is_left_alone(self) -> None:
        self.up()
        stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
        try:
            record = self.state / "processes" / "old.json"
            record.write_text(json.dumps({"pid": stranger.pid, "birth": "another-boot:1", "command": ["etcd"]}))
            self.assertEqual(self.stack("down").returncode, 0)
            self.assert_nothing_left()
            self.assertIsNone(stranger.poll())
        finally:
            stranger.kill()
            stranger.wait()

    def test_a_server_that_cannot_start_is_named_with_its_log(self) -> None:
        with tempfile.TemporaryDirectory() as assets:
            for name in ("etcd", "kube-apiserver", "kubectl"):
                script = Path(assets) / name
                script.write_text("#!/bin/sh\necho no disk today; exit 3\n")
                script.chmod(0o755)
            self.env["KUBEBUILDER_ASSETS"] = assets
            done = self.stack("up")
        self.assertEqual(done.returncode, 1)
        self.assertIn("etcd ended with exit code 3", done.stderr)
        self.assertIn("no disk today", done.stderr)
        self.assert_nothing_left()


class Crashes(StackTest):
    def test_kill_of_up_halfway(self) -> None:
        """Whenever `up` dies, `down` finds every server, and the next `up` works."""
        for delay in (0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 1.8):
            with self.subTest(delay):
                with self.started("up") as child:
                    time.sleep(delay)
                    child.kill()
                    child.wait()
                self.assertEqual(self.stack("down").returncode, 0)
                self.assert_nothing_left()

    def test_kill_of_up_between_fork_and_record(self) -> None:
        """The server's own process writes the record, under the lock that it inherited."""
        with self.started("up") as child:
            deadline = time.monotonic() + WITHIN_SECONDS
            while not running_in(self.state) and time.monotonic() < deadline:
                time.sleep(0.001)
            child.kill()
            child.wait()
        self.assertEqual(self.stack("down").returncode, 0)
        self.assert_nothing_left()

    def test_up_after_a_kill(self) -> None:
        with self.started("up") as child:
            time.sleep(0.7)
            child.kill()
            child.wait()
        self.up()
        self.assertEqual(len(running_in(self.state)), 3)

    def test_terminated_up_cleans_up_itself(self) -> None:
        with self.started("up") as child:
            deadline = time.monotonic() + WITHIN_SECONDS
            while not running_in(self.state) and time.monotonic() < deadline:
                time.sleep(0.01)
            child.send_signal(signal.SIGINT)
            self.assertEqual(child.wait(), 130)
        self.assert_nothing_left()

    def test_the_guard_follows_its_parent(self) -> None:
        parent = subprocess.Popen(["sleep", "60"])
        try:
            self.up("--parent-pid", str(parent.pid))
            self.assertEqual(len(running_in(self.state)), 4)
        finally:
            parent.kill()
            parent.wait()
        self.assert_nothing_left()


class Run(StackTest):
    """`run` has a state directory of its own, which its command can name."""

    def run_shell(self, script: str) -> subprocess.CompletedProcess[str]:
        done = self.stack("run", "--", "sh", "-c", f"echo $SECUREBUCKET_STACK; {script}")
        self.state = Path(done.stdout.splitlines()[0]).parent
        return done

    def test_exit_code_and_environment(self) -> None:
        self.env.update(AWS_CA_BUNDLE="/x", SSL_CERT_FILE="/x", AWS_PROFILE="prod", KEPT="yes")
        done = self.run_shell('echo "$AWS_CA_BUNDLE,$SSL_CERT_FILE,$AWS_PROFILE,$KEPT,$KUBECONFIG"; exit 7')
        self.assertEqual(done.returncode, 7, done.stderr)
        self.assertEqual(done.stdout.splitlines()[1], f",,,yes,{self.state}/kube/kubeconfig")
        self.assert_nothing_left()

    def test_a_command_that_cannot_be_run(self) -> None:
        done = self.stack("run", "--", "no-such-command")
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot run no-such-command", done.stderr)

    def signalled(self, number: int, command: str = "exec sleep 60") -> int:
        with self.started("run", "--", "sh", "-c", f"echo $SECUREBUCKET_STACK; {command}") as child:
            self.state = Path(child.stdout.readline().strip()).parent
            self.assertTrue(running_in(self.state))
            child.send_signal(number)
            code = child.wait(timeout=WITHIN_SECONDS)
        self.assert_nothing_left()
        return code

    def test_terminated(self) -> None:
        self.assertEqual(self.signalled(signal.SIGTERM), 128 + signal.SIGTERM)
        self.assertEqual(self.signalled(signal.SIGINT), 128 + signal.SIGINT)

    def test_killed(self) -> None:
        """The guard takes the stack down; the command, which nobody told anything, ends by itself."""
        self.assertEqual(self.signalled(signal.SIGKILL, "exec sleep 3"), -signal.SIGKILL)


class TheWholeWay(StackTest):
    """A ServiceAccount's token from the API server opens the operator's role for the real aws command."""

    def test_irsa(self) -> None:
        description = self.up()
        tools, kube = description["tools"], description["kube"]

        def kubectl(*arguments: str, context: str = "admin") -> subprocess.CompletedProcess[str]:
            return subprocess.run([tools["kubectl"], "--kubeconfig", kube["kubeconfig"], "--context", context, *arguments],
                                  text=True, capture_output=True)

        policies = self.state / "policies"
        policies.mkdir()
        for name in ("operator", "boundary"):
            (policies / f"{name}.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}]}))
        done = self.stack("account", "--cluster", "c1", "--policy-dir", str(policies))
        self.assertEqual(done.returncode, 0, done.stderr)
        account = json.loads(done.stdout)
        self.assertEqual(account["boundary_arn"], f"arn:aws:iam::{account['account']}:policy/securebucket-c1-boundary")

        kubectl("create", "namespace", "securebucket-system")
        for name in ("securebucket", "other"):
            kubectl("create", "serviceaccount", name, "-n", "securebucket-system")

        def aws(service_account: str, audience: str, *command: str) -> subprocess.CompletedProcess[str]:
            token = self.state / "token"
            token.write_text(kubectl("create", "token", service_account, "-n", "securebucket-system",
                                     "--audience", audience).stdout)
            return subprocess.run([tools["aws"], *command], text=True, capture_output=True, env={
                "PATH": os.environ["PATH"], "HOME": str(self.state), "AWS_ENDPOINT_URL": description["aws"]["endpoint"],
                "AWS_REGION": account["region"], "AWS_ROLE_ARN": account["operator_role_arn"],
                "AWS_WEB_IDENTITY_TOKEN_FILE": str(token), "AWS_MAX_ATTEMPTS": "1"})

        identity = aws("securebucket", "sts.amazonaws.com", "sts", "get-caller-identity")
        self.assertIn("assumed-role/securebucket-operator/", identity.stdout, identity.stderr)
        self.assertEqual(aws("securebucket", "sts.amazonaws.com", "s3", "ls").returncode, 0)
        self.assertIn("AccessDenied", aws("securebucket", "sts.amazonaws.com", "iam", "list-roles").stderr)
        self.assertIn("AccessDenied", aws("other", "sts.amazonaws.com", "s3", "ls").stderr)
        self.assertIn("InvalidIdentityToken", aws("securebucket", kube["issuer"], "s3", "ls").stderr)

        whoami = kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username} {.status.userInfo.groups[0]}",
                         context="bob")
        self.assertEqual(whoami.stdout, "bob telephony-owners")
        self.assertEqual(kubectl("auth", "can-i", "get", "secrets", context="bob").returncode, 1)
