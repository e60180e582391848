"""What a user did wrong, said in one message."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
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
    """A mistake or a bad input that the user can mend: shown as its message alone.

    The message says what is wrong, where, and what to do next.
    """

    exit_code = 2

    def _render_traceback_(self) -> list[str]:
        # IPython asks an exception for this; a notebook then shows the message and no traceback.
        return [f"{type(self).__name__}: {self}"]


class Diverged(UserError):
    """A cost of `seeds` stopped being finite in training. A chapter that compares settings may go on without them."""

    def __init__(self, message: str, seeds: Iterable[int]) -> None:
        super().__init__(message)
        self.seeds = list(seeds)


class Stopped(UserError):
    """A training was asked to end, SIGTERM, and left all that it takes to go on."""

    exit_code = os.EX_TEMPFAIL  # 75, "try again"


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors that point to the help."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"{self.prog}: {message}. See '{self.prog} --help'.\n")


def exit_code(program: str, command: Callable[[], int | None], interrupted: str = "") -> int:
    """Run one command of `program`; returns what it returns, or the exit code of what it raises, told in one line.

    2 for a user's mistake, a disk that refuses and a package that is missing; 75 if SIGTERM stopped it; 130 at Ctrl-C,
    after which `interrupted` says what stands.
    """
    code = 0
    # A dash is no reason to fail where a terminal knows none. Some streams cannot be told.
    with suppress(AttributeError):
        sys.stdout.reconfigure(errors="replace")
    try:
        code = command() or 0
        sys.stdout.flush()
    except BrokenPipeError:  # `aae claims | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code
    except KeyboardInterrupt:
        told, code = f"interrupted{interrupted}.", 128 + signal.SIGINT
    except ImportError as error:
        told, code = f"{error}; run 'make -B setup'.", UserError.exit_code
    except (UserError, OSError) as error:
        told, code = str(error), getattr(error, "exit_code", UserError.exit_code)
    else:
        return code
    print(f"{program}: {told}", file=sys.stderr)
    return code


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
