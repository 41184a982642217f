"""The demo's own words: what it shows as typed, what it takes for a refusal, how it judges docs/demo.md. It runs no command."""

import contextlib
import io
import time
import unittest
from pathlib import Path
from unittest import mock

from demolib import record
from demolib.actors import Result, Scene, all_good
from demolib.bucket import refused
from demolib.show import Show, StoryEnds, aws_error

DENIED = ('An error occurred (AccessDenied) when calling the GetObject operation: User: arn:aws:iam::1:user/x is not '
          'authorized to perform: s3:GetObject on resource: "arn:aws:s3:::b/k" with an explicit deny in a resource-based policy')


class Quiet(unittest.TestCase):
    def setUp(self) -> None:
        silence = contextlib.redirect_stdout(io.StringIO())
        silence.__enter__()
        self.addCleanup(silence.__exit__, None, None, None)
        self.show = Show(time.time())
        self.show.step("A step")


class Typing(Quiet):
    def typed(self, *command: str, **names: str) -> str:
        return Scene(self.show, {}, Path("."), {value: f"${name}" for name, value in names.items()}).typed(list(command))

    def test_values_become_shell_variables_and_odd_words_are_quoted(self) -> None:
        self.assertEqual(self.typed("aws", "--key", "a b", "x/bucket-1", BUCKET="bucket-1"), "aws --key 'a b' x/$BUCKET")
        self.assertEqual(self.typed("kubectl", "x=2026-01-01", NOW="2026-01-01"), "kubectl x=$NOW")
        self.assertEqual(self.typed("kubectl", "at=T", **{"(date -u)": "T"}), 'kubectl "at=$(date -u)"')

    def test_a_long_command_breaks_before_options_and_keeps_their_values(self) -> None:
        lines = self.typed("helm", "install", *["--set", "a-name=" + "v" * 40] * 3).split(" \\\n")
        self.assertGreater(len(lines), 1)
        self.assertTrue(all(line.startswith("    --set a-name=") for line in lines[1:]), lines)


class Judging(Quiet):
    def judge(self, text: str, code: int = 255, why: str = "explicit deny") -> bool:
        cast = mock.Mock(show=self.show)
        refused(cast, "it is refused", Result(code, "", text), "GetObject", why)
        return self.show.verdicts[-1].ok

    def test_only_a_denial_of_this_operation_for_this_reason_is_a_refusal(self) -> None:
        self.assertEqual(aws_error(DENIED), "AccessDenied on GetObject, explicit deny in a resource-based policy")
        self.assertTrue(self.judge(DENIED))
        self.assertFalse(self.judge(DENIED, code=0))
        self.assertFalse(self.judge(DENIED, why="no identity-based policy allows"))
        self.assertFalse(self.judge(DENIED.replace("GetObject operation", "HeadObject operation")))
        self.assertFalse(self.judge("An error occurred (NoSuchKey) when calling the GetObject operation: explicit deny"))
        self.assertFalse(self.judge("Could not connect to the endpoint URL"))

    def test_one_difference_fails_the_demo(self) -> None:
        self.assertFalse(self.show.ok, "a demo that compared nothing has shown nothing")
        self.show.expect("a", "a", True)
        self.assertTrue(self.show.ok)
        self.show.expect("b", "c", False)
        self.assertFalse(self.show.ok)
        with self.assertRaises(StoryEnds):
            all_good(self.show, "all work", [Result(0, "", ""), Result(1, "", "no")])

    def test_tokens_are_not_shown(self) -> None:
        self.show.answer("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJl")
        self.assertEqual(self.show.entries[-1].text, "eyJhbGciOi…")


class Page(Quiet):
    def outdated(self, page: str) -> str:
        with mock.patch.object(record, "PAGE", mock.Mock(is_file=lambda: True, read_text=lambda encoding: page)):
            return record.outdated(self.show)

    def test_a_page_of_this_run_is_up_to_date_whatever_the_answers_and_ports(self) -> None:
        self.show.command("bob", "curl 127.0.0.1:4711")
        self.show.answer("one")
        page = record.transcript(self.show.entries)
        self.show.entries[-1] = mock.Mock(kind="answer", text="two")
        self.assertEqual(self.outdated(page), "")
        self.assertIn("127.0.0.1:4566", page)

    def test_a_step_or_command_more_or_less_is_noticed(self) -> None:
        self.show.command("bob", "kubectl get sbkt")
        page = record.transcript(self.show.entries)
        self.assertIn("steps", self.outdated(page + "\n### 2. Another step\n"))
        self.show.command("bob", "kubectl get sbkt -A")
        self.assertIn("-A", self.outdated(page))


if __name__ == "__main__":
    unittest.main()
