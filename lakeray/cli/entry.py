"""The process behind `lakeray`: from arguments to an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from lakeray.cli import failures, interrupts
from lakeray.cli.app import app
from lakeray.cli.reply import Reply, mouth

__all__ = ["execute", "main"]


def main() -> NoReturn:
    """Run the command that the process was started with, then exit."""
    interrupts.end_on_sigterm()
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code, raises nothing.

    With ``--json`` exactly one JSON document is written to standard output, also for an error.
    """
    json = "--json" in _before_the_rest(arguments)
    with mouth(json=json) as speaker:
        try:
            reply = _as_reply(app(args=list(arguments), prog_name="lakeray", standalone_mode=False))
        except interrupts.Terminated as error:
            reply = failures.reply_to(error)
        except SystemExit as left:
            return left.code if isinstance(left.code, int) else 1
        except BaseException as error:  # noqa: BLE001 - the outermost frame: everything becomes a message with an exit code
            reply = failures.reply_to(error)
        return reply if isinstance(reply, int) else speaker.say(reply)


def _as_reply(returned: object) -> Reply | int:
    if isinstance(returned, Reply):
        return returned
    if returned == failures.INTERRUPTED:  # typer turns Ctrl-C into this
        return failures.interrupted()
    return returned if isinstance(returned, int) else 0


def _before_the_rest(arguments: Sequence[str]) -> Sequence[str]:
    return arguments[: arguments.index("--")] if "--" in arguments else arguments
