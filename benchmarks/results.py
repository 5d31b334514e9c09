"""``results.json`` holds one entry a table with its machine and its command, so that any can be measured again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import described

DEFAULT = Path(__file__).resolve().parent / "results.json"


def load(path: Path) -> dict[str, Any]:
    """All tables by name; none when the file is not there."""
    return json.loads(path.read_text()) if path.exists() else {}


def store(path: Path, name: str, table: dict[str, Any], *, command: str, **circumstances: str) -> None:
    """Put one table in, in place of an earlier one of the same name."""
    tables = load(path)
    machine = {**described(), **circumstances}
    tables[name] = {
        **table,
        "command": command,
        "measured_at": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(dict(sorted(tables.items(), key=_place)), indent=1) + "\n")
    draft.replace(path)


def size_name(rows: int) -> str:
    """10000000 as 10M, 100000 as 100k."""
    for unit, name in ((1_000_000, "M"), (1_000, "k")):
        if rows >= unit and rows % unit == 0:
            return f"{rows // unit}{name}"
    return str(rows)


def parse_rows(text: str) -> int:
    """The inverse of ``size_name``. Raises ValueError."""
    units = {"k": 1_000, "M": 1_000_000, "m": 1_000_000}
    return int(float(text[:-1]) * units[text[-1]]) if text[-1:] in units else int(text)


def _place(item: tuple[str, dict[str, Any]]) -> tuple[str, int]:
    return item[0].split("/")[0], int(item[1].get("rows", 0))
