"""What a command answers, told as text or as one JSON document."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from typing import IO, Any

from rich.console import Console, RenderableType

from lakeray.reports.documents import dumps

_WIDTH_OF_PIPES = 160


@dataclass(frozen=True, kw_only=True)
class Reply:
    """``document`` for ``--json``; otherwise ``view`` on standard output, where a ``str`` is written as it is.

    ``aside`` goes to standard error, for people only. ``exit_code`` is 0 succeeded, 1 failed, 2 nothing was started
    because the file or the arguments are wrong, 3 stopped at a gate.
    """

    document: object
    view: RenderableType | None = None
    aside: list[RenderableType] = field(default_factory=list)
    exit_code: int = 0


class Mouth:
    """Writes replies: the only one who writes to standard output."""

    def __init__(self, *, json: bool, stdout: IO[Any], stderr: IO[Any]) -> None:
        self._json = json
        self._stdout = stdout
        self._stderr = stderr

    def say(self, reply: Reply) -> int:
        """Write ``reply``; a reader that has gone away changes nothing about its exit code."""
        try:
            self._write(reply)
            self._stdout.flush()
        except BrokenPipeError:
            _forget(self._stdout)
        with suppress(BrokenPipeError, ValueError):
            self._stderr.flush()
        return reply.exit_code

    def _write(self, reply: Reply) -> None:
        if self._json:
            self._stdout.write(dumps(reply.document))
            return
        if isinstance(reply.view, str):
            self._stdout.write(reply.view if reply.view.endswith("\n") or not reply.view else f"{reply.view}\n")
        elif reply.view is not None:
            _print(self._stdout, reply.view)
        self._stdout.flush()
        for part in reply.aside:
            console_on(self._stderr).print(part)


def _print(stream: IO[Any], view: RenderableType) -> None:
    if stream.isatty():
        console_on(stream).print(view)
        return
    console = console_on(stream)
    with console.capture() as captured:
        console.print(view)
    # Tables are padded to their width, which only makes noise in a file.
    stream.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would end the process


def console_on(stream: IO[Any]) -> Console:
    """A console as wide as the terminal, or wide enough for names where nobody looks."""
    wide = None if stream.isatty() or "COLUMNS" in os.environ else _WIDTH_OF_PIPES
    return _Console(file=stream, width=wide, highlight=False, soft_wrap=False)


@contextmanager
def mouth(*, json: bool) -> Iterator[Mouth]:
    """A mouth; with ``json``, all else that writes to standard output meanwhile writes to standard error.

    That holds for child processes as well.
    """
    if not json:
        yield Mouth(json=False, stdout=sys.stdout, stderr=sys.stderr)
        return
    sys.stdout.flush()
    kept = os.dup(1)
    with os.fdopen(os.dup(kept), "w", encoding="utf-8", errors="surrogateescape") as stdout:
        try:
            os.dup2(2, 1)
            with redirect_stdout(sys.stderr):
                yield Mouth(json=True, stdout=stdout, stderr=sys.stderr)
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def _forget(stream: IO[Any]) -> None:
    # The interpreter flushes its streams once more at exit: into nothing, rather than into a broken pipe.
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:  # noqa: PTH123 - a descriptor is needed
        os.dup2(nothing.fileno(), stream.fileno())
