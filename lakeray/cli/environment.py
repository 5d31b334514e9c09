"""Commands about the environment: is everything there, in which versions."""

# ruff: noqa: ARG001 - `json` is read from the arguments before any command runs, see entry.py
from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from lakeray.cli import lakes, views
from lakeray.cli.options import Json
from lakeray.cli.reply import Reply
from lakeray.observability.visible import visible
from lakeray.reports.documents import dumps, plain

_SHOWN = ("ray", "deltalake", "pyarrow", "datafusion", "s3fs", "adlfs")


def own_version() -> str:
    """The version of lakeray itself."""
    return _installed("lakeray") or "unknown"


def _installed(name: str) -> str | None:
    try:
        return installed(name)
    except PackageNotFoundError:
        return None


def version(*, json: Json = False) -> Reply:
    """Print the versions of lakeray, Python and what it stands on.

    [dim]lakeray version --json[/dim]
    """
    versions = {"lakeray": own_version(), "python": platform.python_version()}
    versions |= {name: found for name in _SHOWN if (found := _installed(name))}
    return Reply(document=versions, view=views.facts(versions.items()))


def schema(*, json: Json = False) -> Reply:
    """Print the JSON Schema of the workflow file, for editors.

    An editor completes and checks a workflow file whose first line is
    `# yaml-language-server: $schema=lakeray.schema.json`.

    [dim]lakeray schema > lakeray.schema.json[/dim]
    """
    from lakeray.spec.schema import workflow_json_schema

    document = workflow_json_schema()
    return Reply(document=document, view=dumps(document))


def doctor(
    file: Annotated[str | None, typer.Argument(help="A workflow file: its uris are tried as well.")] = None,
    *,
    json: Json = False,
) -> Reply:
    """Check the environment; with a workflow file its storage too.

    [dim]lakeray doctor orders.yaml[/dim]
    """
    with lakes.opened() as lake:
        checks = plain(lake.doctor(file))
    healthy = all(check["ok"] for check in checks)
    view = Group(*(line for check in checks for line in _check(check)))
    return Reply(document={"ok": healthy, "checks": checks}, view=view, exit_code=0 if healthy else 1)


def _check(check: dict[str, Any]) -> list[RenderableType]:
    mark, style = ("✓", "green") if check["ok"] else ("✗", "bold red")
    line = Text.assemble(
        (f"{mark} ", style), (visible(check["name"]), "bold"), f"  {visible(check.get('detail') or '')}"
    )
    hint = check.get("hint")
    return [line] if check["ok"] or not hint else [line, Text(f"  → {visible(hint)}", style="cyan")]
