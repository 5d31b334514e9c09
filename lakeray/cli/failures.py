"""What went wrong, told so that a person or a program knows what to do."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from lakeray.cli.interrupts import Terminated
from lakeray.cli.reply import Reply
from lakeray.errors import LakerayError
from lakeray.observability.visible import visible, without_credentials
from lakeray.reports.documents import plain

DEBUG = "LAKERAY_DEBUG"
INTERRUPTED = 130


def debugging() -> bool:
    """Whether stack traces are wanted (``LAKERAY_DEBUG=1``)."""
    return os.environ.get(DEBUG, "") not in {"", "0"}


def reply_to(error: BaseException, command: str = "lakeray") -> Reply:
    """The answer to any error: message, hint, exit code; a stack trace only when debugging."""
    if isinstance(error, LakerayError):
        reply = _expected(error)
    elif isinstance(error, typer.TyperException):
        reply = _wrong_arguments(error, command)
    elif isinstance(error, KeyboardInterrupt | typer.Abort):
        reply = interrupted()
    elif isinstance(error, Terminated):
        reply = terminated()
    else:
        reply = _unexpected(error)
    if not debugging():
        return reply
    trace = "".join(traceback.format_exception(error))
    return Reply(
        document=reply.document, aside=[*reply.aside, Text(trace, style="bright_black")], exit_code=reply.exit_code
    )


def _wrong_arguments(error: typer.TyperException, command: str) -> Reply:
    path = getattr(getattr(error, "ctx", None), "command_path", None) or command
    message = error.format_message()
    reply = _reply(
        code="usage",
        message=message or "a command is missing",
        hint=f"`{path} --help` shows what is allowed",
        exit_code=2,
    )
    # Without a message typer has shown the help already.
    return reply if message else Reply(document=reply.document, exit_code=2)


def interrupted() -> Reply:
    """Ctrl-C where nothing had to be finished."""
    return _reply(code="interrupted", message="interrupted", hint=None, exit_code=INTERRUPTED)


def terminated() -> Reply:
    """SIGTERM likewise."""
    hint = "run the same command again: nothing is lost"
    return _reply(code="terminated", message="ended by SIGTERM", hint=hint, exit_code=Terminated.exit_code)


def _expected(error: LakerayError) -> Reply:
    problems = list(getattr(error, "problems", None) or ())
    return _reply(
        code=error.code,
        message=error.message,
        hint=error.hint,
        uri=error.uri,
        problems=problems,
        exit_code=error.exit_code,
    )


def _unexpected(error: BaseException) -> Reply:
    first = (str(error).splitlines() or [""])[0]
    said = f"{type(error).__name__}: {first}" if first else type(error).__name__
    hint = f"please report it, with what the same command prints under {DEBUG}=1; what is committed is safe"
    return _reply(code="unexpected", message=f"unexpected error, {said}", hint=hint, exit_code=1)


def _reply(
    *,
    code: str,
    message: str,
    hint: str | None,
    exit_code: int,
    uri: str | None = None,
    problems: Iterable[object] = (),
) -> Reply:
    message = without_credentials(message)
    document: dict[str, object] = {"code": code, "message": message, "hint": hint, "uri": uri}
    listed = list(problems)
    if listed:
        document["problems"] = [plain(problem) for problem in listed]
    return Reply(document={"error": document}, aside=[_view(message, hint)], exit_code=exit_code)


def _view(message: str, hint: str | None) -> RenderableType:
    # Several lines are lakeray's own layout (one problem each); within a line nothing may steer the terminal.
    lines = [visible(line) for line in message.splitlines()] or [""]
    parts: list[RenderableType] = [Text.assemble(("✗ ", "bold red"), "\n  ".join(lines))]
    if hint:
        parts.append(Text(f"  → {visible(hint)}", style="cyan"))
    return Group(*parts)
