"""Commands that look before anything is imported."""

# ruff: noqa: ARG001 - `json` is read from the arguments before any command runs, see entry.py
from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Group, RenderableType

from lakeray.cli import lakes, views
from lakeray.cli.options import File, Json, Steps
from lakeray.cli.reply import Reply
from lakeray.errors import NotBuiltError
from lakeray.observability.figures import count, counted
from lakeray.reports.documents import plain

_SAMPLE = 5


def validate(file: File, *, json: Json = False) -> Reply:
    """Check a workflow file and its SQL; start nothing.

    Every problem is shown with its line, what was found, what is allowed
    and the nearest right spelling.

    [dim]lakeray validate orders.yaml[/dim]
    """
    # Not through the lake: whoever checks a file in an editor or a hook does not want to wait for Delta.
    from lakeray.spec.built import refuse_unbuilt
    from lakeray.spec.load import load_workflow
    from lakeray.transform.written import check_expressions

    workflow = load_workflow(Path(file))
    check_expressions(workflow)
    steps = workflow.ordered()
    unbuilt: NotBuiltError | None = None
    try:
        refuse_unbuilt(workflow)
    except NotBuiltError as error:
        unbuilt = error
    told = f"{file} is valid: workflow {workflow.workflow}, {counted(len(steps), 'step')} ({', '.join(steps)})"
    aside: list[RenderableType] = []
    if unbuilt is not None:
        aside = [views.warning("this version cannot run all of it:"), *map(views.quiet, str(unbuilt).splitlines())]
    document = {
        "valid": True,
        "file": file,
        "workflow": workflow.workflow,
        "tenant": workflow.tenant,
        "steps": steps,
        "runnable": unbuilt is None,
        "not_built": None if unbuilt is None else unbuilt.message,
    }
    return Reply(document=document, view=views.good(told), aside=aside)


def plan(file: File, *, step: Steps = None, json: Json = False) -> Reply:
    """Say what a run would import; write nothing.

    [dim]lakeray plan orders.yaml --step ingest[/dim]
    """
    with lakes.opened() as lake:
        plans = plain(lake.plan(file, steps=step or None))
    none = views.quiet("This workflow has no import step.")
    return Reply(document={"plans": plans}, view=views.stacked([_plan(found) for found in plans] or [none]))


def _plan(found: dict[str, Any]) -> RenderableType:
    new, sample = found.get("new") or 0, found.get("samples") or []
    if found.get("pending_batch") is not None:
        what = f"batch {found['pending_batch']} was begun; a run finishes it first"
    elif new:
        batches = counted(found.get("batches") or 1, "batch", "batches")
        what = f"{views.some(new, 'object', found.get('size_bytes') or 0)} in {batches}"
    else:
        what = "nothing new"
    lines = [
        ("from", found.get("source_uri")),
        ("into", found.get("table_uri")),
        ("listing", _listing(found)),
        ("to import", what),
        ("new columns", found.get("new_columns")),
    ]
    shown = [views.quiet(f"    {uri}") for uri in sample[:_SAMPLE]]
    if shown and new > len(shown):
        shown.append(views.quiet(f"    and {count(new - len(shown))} more"))
    notes = [views.quiet(f"  {note}") for note in found.get("notes") or []]
    listed = views.facts((f"  {name}", value) for name, value in lines)
    return Group(views.title(str(found.get("step"))), listed, *shown, *notes)


def _listing(found: dict[str, Any]) -> str:
    parts = [f"{count(found.get('listed') or 0)} listed", f"{count(found.get('known') or 0)} known"]
    parts += [f"{count(found[name])} {name}" for name in ("changed", "deleted") if found.get(name)]
    return ", ".join(parts)


def discover(
    file: File,
    *,
    source: Annotated[str | None, typer.Option("--source", metavar="NAME", help="Only this source.")] = None,
    register: Annotated[
        bool, typer.Option("--register", help="Put format, schema and statistics into the catalog.")
    ] = False,
    schema_diff: Annotated[
        bool, typer.Option("--schema-diff", help="What is known of the schema against what a sample shows; its log.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="With --schema-diff: read every object.")] = False,
    json: Json = False,
) -> Reply:
    """Look at the sources: objects, format, schema; import nothing.

    [dim]lakeray discover orders.yaml --register[/dim]
    """
    with lakes.opened() as lake:
        compare: Literal["none", "sample", "all"] = "none"
        if schema_diff or everything:
            compare = "all" if everything else "sample"
        found = plain(lake.discover(file, source=source, register=register, schema_diff=compare))
    none = views.quiet("This workflow has no source.")
    return Reply(document={"sources": found}, view=views.stacked([_source(one) for one in found] or [none]))


def _source(found: dict[str, Any]) -> RenderableType:
    left_out = found.get("temporary_left_out")
    lines = [
        ("uri", found.get("uri")),
        ("format", found.get("format")),
        ("objects", views.some(found.get("objects") or 0, "object", found.get("size_bytes") or 0)),
        ("modified", " to ".join(found[age] for age in ("oldest", "newest") if found.get(age))),
        ("new", count(found.get("new") or 0)),
        ("changed", found.get("changed") or None),
        ("deleted", found.get("deleted") or None),
        ("left out", counted(left_out, "temporary name") if left_out else None),
        ("catalog", "registered" if found.get("registered") else None),
    ]
    schema = [{"column": name, "type": kind} for name, kind in (found.get("columns") or {}).items()]
    parts: list[RenderableType] = [views.title(str(found.get("source"))), views.facts(lines)]
    if schema:
        parts += ["", views.grid(schema)]
    if found.get("schema_diff"):
        parts += ["", *_schema_diff(found["schema_diff"])]
    return Group(*parts)


def _schema_diff(diff: dict[str, Any]) -> list[RenderableType]:
    looked = counted(diff["looked_at"], "object")
    where = f"all {looked}" if diff["complete"] else f"a sample of {looked}"
    parts: list[RenderableType] = [views.title("schema now", f"what is known against {where}")]
    parts.append(views.grid(diff["changes"]) if diff["changes"] else views.good("nothing differs"))
    if diff["unread"]:
        parts.append(views.warning(f"{counted(diff['unread'], 'object')} without a record that can be read"))
    history = [
        {"version": item["version"], "batch": item["batch"], "at": item["created_at"][:19], **change}
        for item in diff["history"]
        for change in item["changes"]
    ]
    return [*parts, "", views.title("schema log"), views.grid(history)] if history else parts
