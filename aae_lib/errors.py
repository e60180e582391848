"""What a user did wrong, said in one message."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What reading a file raises that is not the JSON that was written."""


class UserError(Exception):
    """A mistake or a bad input that the user can mend: shown as its message alone, exit code 2.

    The message says what is wrong, where, and what to do next.
    """

    def _render_traceback_(self) -> list[str]:
        # IPython asks an exception for this; a notebook then shows the message and no traceback.
        return [f"{type(self).__name__}: {self}"]


class Diverged(UserError):
    """A cost of `seeds` stopped being finite in training. A chapter that compares settings may go on without them."""

    def __init__(self, message: str, seeds: Iterable[int]) -> None:
        super().__init__(message)
        self.seeds = list(seeds)


class Stopped(UserError):
    """A training was asked to end, SIGTERM, and left all that it takes to go on: exit code 75, "try again"."""


@contextmanager
def on_sigterm(handler: Callable[..., None]) -> Iterator[None]:
    """Inside, SIGTERM calls `handler`. Only in the main thread, which alone may ask for signals."""
    try:
        before = signal.signal(signal.SIGTERM, handler)
    except ValueError:  # another thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def suggest(name: str, valid: Iterable[str]) -> str:
    """The end of a message about an unknown `name`: the nearest valid one, and all of them."""
    valid = list(valid)
    near = get_close_matches(name, valid, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}Valid: {', '.join(valid)}."
