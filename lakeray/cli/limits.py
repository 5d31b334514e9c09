"""Commands about what steps wait for: pools and circuit breakers."""

# ruff: noqa: ARG001 - `json` is read from the arguments before any command runs, see entry.py
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakeray.cli import lakes, views
from lakeray.cli.options import Json
from lakeray.cli.reply import Reply
from lakeray.reports.documents import plain

if TYPE_CHECKING:
    from lakeray.runtime.durable.queues import PoolLine

pools = typer.Typer(no_args_is_help=True, help="Pools that steps share: who holds slots, who waits.")
breakers = typer.Typer(no_args_is_help=True, help="Circuit breakers before steps: which are open.")

AnyTenant = Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Only of this tenant.")]
Tenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help="Whose it is.")]


@pools.command("list")
def list_pools(*, tenant: AnyTenant = None, json: Json = False) -> Reply:
    """List pools and concurrency keys with who holds them and who waits.

    [dim]lakeray pools list[/dim]
    """
    with lakes.opened() as lake:
        lines = lake.pools.list(tenant=tenant)
    rows = [row for line in lines for row in _rows(line)]
    return Reply(document={"pools": plain(lines)}, view=views.grid(rows) if rows else views.quiet("No pool is in use."))


def _rows(line: PoolLine) -> list[dict[str, Any]]:
    head = {"tenant": line.tenant, line.kind: line.name, "slots": line.slots, "taken": line.taken}
    works = [{"work": each.work, "": each.waits or "holds"} for each in (*line.held, *line.waiting)]
    return [head, *works]


@pools.command("resize")
def resize(
    pool: Annotated[str, typer.Argument(metavar="POOL", help="The pool's name.", show_default=False)],
    slots: Annotated[int, typer.Argument(metavar="SLOTS", min=1, max=1_000_000, show_default=False)],
    *,
    tenant: Tenant = "default",
    json: Json = False,
) -> Reply:
    """Give a pool another number of slots, until a run whose file says otherwise begins.

    [dim]lakeray pools resize warehouse 8[/dim]
    """
    with lakes.opened() as lake:
        lake.pools.resize(pool, slots, tenant=tenant)
    return Reply(document={"pool": pool, "slots": slots}, view=views.good(f"pool {pool} has {slots} slots"))


@breakers.command("list")
def list_breakers(*, tenant: AnyTenant = None, json: Json = False) -> Reply:
    """List circuit breakers that have seen failures.

    [dim]lakeray breakers list[/dim]
    """
    with lakes.opened() as lake:
        lines = plain(lake.breakers.list(tenant=tenant))
    return Reply(document={"breakers": lines}, view=views.grid(lines) if lines else views.quiet("None has failures."))


@breakers.command("reset")
def reset(
    dependency: Annotated[str, typer.Argument(metavar="DEPENDENCY", show_default=False)],
    *,
    tenant: Tenant = "default",
    json: Json = False,
) -> Reply:
    """Close a circuit breaker; forget its failures.

    [dim]lakeray breakers reset warehouse[/dim]
    """
    with lakes.opened() as lake:
        lake.breakers.reset(dependency, tenant=tenant)
    return Reply(document={"closed": dependency}, view=views.good(f"breaker {dependency} is closed"))
