"""Commands of the contract that this version does not run: known by name, refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import typer

from lakeray.errors import NotBuiltError

COMMANDS = MappingProxyType(
    {
        "catalog": ("query the catalog", "`lakeray discover FILE --register` already fills it"),
        "lineage": ("show where data comes from", "`lakeray ledger show FILE` knows each object of a table"),
        "policy": ("manage access policies", "there is no control API yet that would need one"),
        "audit": ("read the audit trail", "the security section of a report says what a run used"),
        "serve": ("start the control API", "`lakeray run FILE` runs a workflow in the foreground"),
        "submit": ("submit a workflow to a cluster", "`ray job submit -- lakeray run FILE` runs it there"),
        "tables erase": ("erase rows of a person", "delete them with any Delta writer, then `lakeray tables vacuum`"),
    }
)
"""What each would do, with what helps until then."""

_ANYTHING = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def register(app: typer.Typer, *, group: str = "") -> None:
    """Add the unbuilt commands of ``group`` (the top level when empty) to ``app``, hidden from its help."""
    for path in COMMANDS:
        parent, _, name = path.rpartition(" ")
        if parent == group:
            app.command(name, hidden=True, context_settings=_ANYTHING)(_refusal(path))


def _refusal(path: str) -> Callable[[], None]:
    def refuse() -> None:
        what, instead = COMMANDS[path]
        raise NotBuiltError(f"`lakeray {path}` is not built yet: this version cannot {what}", hint=instead)

    return refuse


def epilog() -> str:
    """The names of all of them, for the help."""
    return f"Planned, not built yet: {', '.join(COMMANDS)}."
