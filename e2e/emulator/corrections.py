"""The list of corrections, and the means to make them at run time without losing one silently.

A correction is a function that patches ministack. Its docstring states what AWS does and where AWS says so;
`EMULATOR_WITHOUT=name,name` leaves corrections out, by which e2e/tests proves that each has a test that bites.
"""

import dataclasses
import importlib
import importlib.metadata
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

MINISTACK_VERSION = "1.5.33"


@dataclasses.dataclass(frozen=True)
class Correction:
    """One difference between ministack and AWS, and the function that removes it."""

    name: str
    install: Callable[[], None]

    @property
    def fact(self) -> str:
        return inspect.cleandoc(self.install.__doc__ or "")


CORRECTIONS: list[Correction] = []


def correction(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register the decorated function as the correction *name*."""

    def register(install: Callable[[], None]) -> Callable[[], None]:
        if not install.__doc__ or "Source:" not in install.__doc__:
            raise PatchError(f"correction {name} does not state its source")
        CORRECTIONS.append(Correction(name, install))
        return install

    return register


class PatchError(Exception):
    """ministack is not what the corrections were written for."""


def install_all(without: frozenset[str]) -> list[str]:
    """Apply every correction but those named; returns the names of the applied ones."""
    found = importlib.metadata.version("ministack")
    if found != MINISTACK_VERSION:
        raise PatchError(f"the corrections were written for ministack {MINISTACK_VERSION}, this is {found}: "
                         "read its changes, run e2e/tests with every correction left out once, then raise the version")
    unknown = without - {one.name for one in CORRECTIONS}
    if unknown:
        raise PatchError(f"EMULATOR_WITHOUT names no correction: {', '.join(sorted(unknown))}")
    applied = [one for one in CORRECTIONS if one.name not in without]
    for one in applied:
        one.install()
    return [one.name for one in applied]


def module(name: str) -> ModuleType:
    """A module of ministack, by its short name: `services.kms`, `core.iam_evaluator`, `app`."""
    return importlib.import_module(f"ministack.{name}")


def wrap(owner: ModuleType, name: str, parameters: str, replacement: Callable[..., Any]) -> None:
    """Replace `owner.name` by `replacement(original, …)`.

    *parameters* are the names of the original's parameters as they were when the correction was written: a
    function that was renamed or whose meaning moved stops the emulator instead of being patched in vain.
    """
    original = getattr(owner, name, None)
    if original is None:
        raise PatchError(f"{owner.__name__}.{name} is gone: a correction depends on it")
    signature = inspect.signature(original)
    if signature.parameters and list(signature.parameters) != parameters.split():
        raise PatchError(f"{owner.__name__}.{name} takes {list(signature.parameters)}, expected {parameters.split()}")

    if inspect.iscoroutinefunction(original):
        async def replaced(*arguments: Any, **named: Any) -> Any:
            return await replacement(original, *arguments, **named)
    else:
        def replaced(*arguments: Any, **named: Any) -> Any:
            return replacement(original, *arguments, **named)

    replaced.__signature__ = signature  # type: ignore[attr-defined]  # so that a second wrap checks as well
    replaced.__name__ = name
    setattr(owner, name, replaced)
