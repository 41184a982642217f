"""docs/demo.md: the transcript of a run, and the check that a later run still shows the same."""

import re
import textwrap
from pathlib import Path

from demolib.show import Entry, Show
from stacklib.paths import CHECKOUT

PAGE = CHECKOUT / "docs" / "demo.md"
PROSE = Path(__file__).resolve().parent / "page.md"  # what stands around the transcript
WIDTH = 140


def write(show: Show) -> None:
    """Write the page from this run."""
    before, after = PROSE.read_text(encoding="utf-8").split("{{transcript}}\n")
    # The comparison of this page with the run is one more, in every run but this one.
    text = before.replace("{{checks}}", str(len(show.verdicts) + 1))
    text += transcript(show.entries) + after
    for place in (str(CHECKOUT), str(Path.home())):
        if place in text:
            raise ValueError(f"the transcript holds a path of this machine: {place}")
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    print(f"\nwrote {PAGE.relative_to(CHECKOUT)}")


def transcript(entries: list[Entry]) -> str:
    """Markdown: a heading per step, prose, consoles, and what was checked."""
    parts: list[str] = []
    console: list[str] = []
    checked: list[str] = []
    folded = False

    def flush() -> None:
        if console:
            block = "```console\n" + "\n".join(console) + "\n```\n"
            parts.append(f"<details><summary>Commands</summary>\n\n{block}\n</details>\n" if folded else block)
        if checked:
            parts.append("\n".join(checked) + "\n")
        console.clear()
        checked.clear()

    for entry in entries:
        text = without_ports(entry.text)
        if entry.kind in ("command", "answer"):
            if checked:
                flush()
            if entry.kind == "command":
                console.append(f"{entry.who} $ {text}")
            elif text:
                console.append(text)
        elif entry.kind == "verdict":
            checked.append(f"- {text}")
        else:
            flush()
            if entry.kind == "say":
                parts.append(textwrap.fill(text, WIDTH, break_on_hyphens=False) + "\n")
            else:
                folded = entry.kind == "aside"
                parts.append(f"### {text}\n")
    flush()
    return "\n".join(parts)


def without_ports(text: str) -> str:
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:4566", text)


def outdated(show: Show) -> str:
    """What the page does not show of this run, or shows beyond it; empty if nothing."""
    page = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    remedy = "run `e2e/demo --record`"
    steps = [entry.text for entry in show.entries if entry.kind in ("step", "aside")]
    if re.findall(r"^### (.*)$", page, re.M) != steps:
        return f"its steps are others: {remedy}"
    for entry in show.entries:
        if entry.kind == "command" and without_ports(f"{entry.who} $ {entry.text}\n") not in page:
            return f"it lacks `{entry.text}`: {remedy}"
    return ""
