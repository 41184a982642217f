"""What the audience sees, kept for the closing table and for docs/demo.md."""

import dataclasses
import os
import re
import sys
import textwrap
import time

WIDTH = 118  # of prose and commands; answers are shown as they come
LONGEST_CELL = 52
TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")


class StoryEnds(Exception):
    """Something did not happen; what follows would make no sense without it."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One thing shown: `step`, `aside` (a step of preparation), `say`, `command`, `answer` or `verdict`."""

    kind: str
    text: str
    who: str = ""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One row of the closing table."""

    step: str
    expected: str
    seen: str
    ok: bool


class Show:
    """Prints, and remembers what it printed."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.entries: list[Entry] = []
        self.verdicts: list[Verdict] = []
        self._step = ""
        self._steps = 0
        self._coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def step(self, title: str, aside: bool = False) -> None:
        """Begin a step, headed by a line in plain words. What is only preparation is folded away in docs/demo.md."""
        self._steps += 1
        self._step = f"{self._steps}. {title}"
        self.entries.append(Entry("aside" if aside else "step", self._step))
        clock = f"{time.time() - self.started:.0f} s"
        print(f"\n{self._paint('1;36', '── ' + self._step)}  {self._paint('2', clock)}", flush=True)

    def say(self, text: str) -> None:
        """A sentence between commands."""
        text = " ".join(text.split())
        self.entries.append(Entry("say", text))
        print(self._paint("3", textwrap.fill(text, WIDTH, initial_indent="   ", subsequent_indent="   ")), flush=True)

    def command(self, who: str, text: str) -> None:
        self.entries.append(Entry("command", text, who))
        print(f"{self._paint('32', who)} {self._paint('2', '$')} {self._paint('1', text)}", flush=True)

    def answer(self, text: str, limit: int = 14) -> None:
        """What came back; the middle of a long one is left out."""
        lines = TOKEN.sub("eyJhbGciOi…", text.strip("\n")).splitlines()
        if len(lines) > limit:
            half = limit // 2
            lines = [*lines[:half], f"… {len(lines) - 2 * half} more lines …", *lines[-half:]]
        shown = "\n".join(_folded(line.rstrip()) for line in lines)
        self.entries.append(Entry("answer", shown))
        if shown:
            print(textwrap.indent(shown, "    "), flush=True)

    def expect(self, expected: str, seen: str, ok: bool) -> None:
        """Compare; a difference is shown at once, ends up in the table, and fails the demo."""
        seen = " ".join(seen.split())
        self.verdicts.append(Verdict(self._step, expected, seen, ok))
        self.entries.append(Entry("verdict", f"{'✔' if ok else '✘'} {expected}" + ("" if ok else f": {seen}")))
        mark = self._paint("32", "  ✔") if ok else self._paint("1;31", "  ✘")
        print(f"{mark} {expected}" + ("" if ok else self._paint("1;31", f"   but: {seen}")), flush=True)

    def demand(self, expected: str, seen: str, ok: bool) -> None:
        """Like `expect`, where there is no point in going on without it."""
        self.expect(expected, seen, ok)
        if not ok:
            raise StoryEnds(f"{expected}: {seen}")

    @property
    def ok(self) -> bool:
        return bool(self.verdicts) and all(verdict.ok for verdict in self.verdicts)

    def table(self) -> None:
        """The closing summary: step, expected, seen, ok."""
        rows = [(_cut(v.step, 34), _cut(v.expected, 56), _cut(v.seen), "yes" if v.ok else "NO") for v in self.verdicts]
        head = ("step", "expected", "seen", "ok")
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(4)]
        print("\n" + self._paint("1;36", "── Summary"))
        before = ""
        for row in [head, tuple("─" * width for width in widths), *rows]:
            first = "" if row[0] == before else row[0]
            before = row[0]
            cells = [text.ljust(width) for text, width in zip((first, *row[1:]), widths, strict=True)]
            line = "  ".join(cells).rstrip()
            print(self._paint("1;31", line) if row[3] == "NO" else line)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._coloured else text


def _folded(line: str) -> str:
    """A long line over several; tables and JSON are left as they are, because they are not prose."""
    if len(line) <= WIDTH or "  " in line or "\t" in line:
        return line
    return textwrap.fill(line, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _cut(text: str, length: int = LONGEST_CELL) -> str:
    return text if len(text) <= length else text[:length - 1] + "…"


def aws_error(text: str) -> str:
    """The error in an answer of the aws command, in a few words; empty if there is none."""
    found = re.search(r"An error occurred \((\w+)\) when calling the (\w+) operation[^:]*: (.*)", text, re.S)
    if not found:
        return ""
    why = re.search(r"explicit deny in an? [\w-]+ policy|because no [\w-]+ policy allows", found[3])
    return f"{found[1]} on {found[2]}" + (f", {why[0]}" if why else "")
