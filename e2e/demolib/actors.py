"""The people and pods of the story: each runs real commands with its own credentials."""

import concurrent.futures
import dataclasses
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demolib.show import WIDTH, Show, StoryEnds

COMMAND_TIMEOUT = 180.0
POLL_SECONDS = 0.3


@dataclasses.dataclass(frozen=True)
class Result:
    """A command's end."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return (self.out + self.err).strip()

    @property
    def ok(self) -> bool:
        return self.code == 0


@dataclasses.dataclass
class Scene:
    """What all actors share."""

    show: Show
    tools: dict[str, str]  # name as typed -> path
    directory: Path  # where they work
    names: dict[str, str] = dataclasses.field(default_factory=dict)  # value -> how a user would write it

    def typed(self, command: list[str]) -> str:
        """The command as a user would type it: shell variables for long values, lines broken before options."""
        groups: list[str] = []  # an option and its value stay together
        before = ""
        for word in command:
            if before.startswith("-") and "=" not in before and not word.startswith("-"):
                groups[-1] += " " + self._word(word)
            else:
                groups.append(self._word(word))
            before = word
        lines = [groups[0]]
        for group in groups[1:]:
            if len(lines[-1]) + len(group) < WIDTH - 16:
                lines[-1] += " " + group
            else:
                lines.append("    " + group)
        return " \\\n".join(lines)

    def _word(self, word: str) -> str:
        replaced = word
        for value, name in self.names.items():
            replaced = replaced.replace(value, name)
        if replaced == word:
            return shlex.quote(word)
        return f'"{replaced}"' if set(replaced) & set(" '()[]{}|*?&;<>") else replaced


class Actor:
    """Somebody with a prompt, credentials and a home."""

    def __init__(self, scene: Scene, who: str, env: dict[str, str]) -> None:
        self.scene = scene
        self.who = who
        self.env = env

    def run(self, *command: Any, limit: int = 14, quiet: bool = False, cwd: Path | None = None) -> Result:
        """Run a command, showing it and its answer."""
        words = [str(word) for word in command]
        if quiet:
            return self._execute(words, cwd)
        self.scene.show.command(self.who, self.scene.typed(words))
        result = self._execute(words, cwd)
        self.scene.show.answer(result.text, limit)
        return result

    def good(self, *command: Any, limit: int = 14, quiet: bool = False, cwd: Path | None = None) -> str:
        """Run a command that has to succeed; returns what it printed."""
        result = self.run(*command, limit=limit, quiet=quiet, cwd=cwd)
        if not result.ok:
            raise StoryEnds(f"`{self.scene.typed([str(word) for word in command])}` ended with {result.code}: {result.text}")
        return result.out.strip()

    def read(self, *command: Any) -> str:
        """What a command prints, not shown."""
        return self.good(*command, quiet=True)

    def write(self, name: str, text: str) -> None:
        """Put a file into the directory and show it."""
        (self.scene.directory / name).write_text(text, encoding="utf-8")
        self.scene.show.command(self.who, f"cat {name}")
        self.scene.show.answer(text, limit=40)

    def _execute(self, words: list[str], cwd: Path | None) -> Result:
        path = self.scene.tools.get(words[0], words[0])
        try:
            done = subprocess.run([path, *words[1:]], env=self.env, cwd=cwd or self.scene.directory, timeout=COMMAND_TIMEOUT,
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        except subprocess.TimeoutExpired:
            raise StoryEnds(f"`{self.scene.typed(words)}` did not end in {COMMAND_TIMEOUT:.0f} s") from None
        return Result(done.returncode, done.stdout, done.stderr)


def together(*calls: tuple[Actor, list[Any]]) -> list[Result]:
    """Run commands at the same time, and show them one after another; the aws command takes a second to start."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        running = [pool.submit(actor.run, *command, quiet=True) for actor, command in calls]
        results = []
        for (actor, command), future in zip(calls, running, strict=True):
            actor.scene.show.command(actor.who, actor.scene.typed([str(word) for word in command]))
            results.append(future.result())
            actor.scene.show.answer(results[-1].text)
    return results


def all_good(show: Show, expected: str, results: list[Result]) -> None:
    """Check commands whose answer is that they did it."""
    bad = [result.text for result in results if not result.ok]
    show.demand(expected, bad[0] if bad else f"{len(results)} commands succeeded", not bad)


def condition(actor: Actor, what: str, kind: str, name: str, namespace: str) -> Result:
    """`kubectl wait` for a condition, by the user."""
    return actor.run("kubectl", "wait", f"--for=condition={what}", f"{kind}/{name}", "-n", namespace, "--timeout=60s")


def until(what: str, condition: Callable[[], Any], within: float = 60.0) -> Any:
    """Wait until the condition holds; returns its value."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise StoryEnds(f"waited {within:.0f} s in vain for: {what}")
        time.sleep(POLL_SECONDS)
    return value
