"""Times taken side by side: every figure is a ratio of medians from one run on one machine."""

from __future__ import annotations

import math
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection

PAUSE = 0.03
"""Seconds between two turns: the threads of the last one spin for a while before they sleep."""


@dataclass(frozen=True)
class Figure:
    """One measured ratio (or amount) beside its target, e.g. ("parzen_grid", 0.61, "≥ 0.5")."""

    name: str
    value: float
    target: str  # "≤ x" or "≥ x"
    how: str  # what was divided by what, in words, with the sizes

    @property
    def ok(self) -> bool:
        """Whether the value keeps the target; one that is not finite does not."""
        sign, bound = self.target.split()
        kept = self.value <= float(bound) if sign == "≤" else self.value >= float(bound)
        return kept and math.isfinite(self.value)


def ratio(
    name: str, target: str, setting: str, part: tuple[str, float], whole: tuple[str, float]
) -> Figure:
    """The figure that divides one time by another, each given in words and in seconds."""
    told = " / ".join(f"{what} {_time(seconds)}" for what, seconds in (part, whole))
    return Figure(name, part[1] / whole[1], target, f"{setting}: {told}")


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.7 else f"{1e3 * seconds:.1f} ms"


class Contender:
    """A callable in a process of its own, with the memory and the settings that it has there; calling it waits for it.

    `factory` is a function at a module's top level that returns the callable.
    """

    def __init__(self, factory: Callable[[], Callable[[], object]]):
        spawn = multiprocessing.get_context("spawn")
        self.pipe, other = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(factory, other), daemon=True)
        self.process.start()
        other.close()
        self._reply()

    def __call__(self) -> None:
        """One call, over there."""
        self.pipe.send("go")
        self._reply()

    def close(self) -> None:
        """End the process."""
        self.pipe.close()
        self.process.join()

    def _reply(self) -> None:
        try:
            reply = self.pipe.recv()
        except EOFError:
            raise RuntimeError("a contender's process has ended; was it killed?") from None
        if isinstance(reply, Exception):
            raise reply


def _serve(factory: Callable[[], Callable[[], object]], pipe: Connection) -> None:
    try:
        call = factory()
        pipe.send("ready")
        while True:
            pipe.recv()
            call()
            pipe.send("done")
    except EOFError:
        return
    except Exception as error:  # told where it is waited for
        pipe.send(error)


def interleaved(
    work: Mapping[str, Callable[[], object]], rounds: int, calls: int = 1
) -> dict[str, float]:
    """Median seconds of one call of each callable in `work`, which take `rounds` turns of so many `calls`.

    Turns matter: what slows the machine for a while then slows all of them. Several calls in a turn matter
    where they are short: the first finds the caches full of what the others left.
    """
    for call in work.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, call in work.items():
            time.sleep(PAUSE)
            started = time.perf_counter()
            for _ in range(calls):
                call()
            seconds[name].append((time.perf_counter() - started) / calls)
    return {name: statistics.median(taken) for name, taken in seconds.items()}
