"""What an existing table demands of its rows, as expectations that workers check.

delta-rs checks none of this in a distributed commit, and a null in a NOT NULL column makes a table unreadable.
"""

from __future__ import annotations

from lakeray.delta.table import TableHandle
from lakeray.transform.program import Expectation


def constraints(handle: TableHandle) -> tuple[Expectation, ...]:
    """NOT NULL, CHECK and generated columns; rows that violate one are quarantined under ``constraint:<name>``."""
    found = [(f"{path} is not null", f"{_column(path)} IS NOT NULL") for path in handle.not_null]
    found += [(name, f"coalesce(({sql}), true)") for name, sql in handle.checks]
    found += [
        (f"{name} is generated", f"{_column(name)} IS NOT DISTINCT FROM ({sql})")
        for name, sql in handle.generated.items()
    ]
    return tuple(Expectation(name=name, sql=sql, on_violation="quarantine") for name, sql in found)


def _column(path: str) -> str:
    first, *rest = path.split(".")
    return '"' + first.replace('"', '""') + '"' + "".join(f"['{name}']" for name in rest)
