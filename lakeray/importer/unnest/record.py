"""What manifests, results and child tables themselves say of whose rows they hold.

A child knows by a property whose import fills it, so that upkeep finds the ledger that says which files are at work.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lakeray.delta.staged import StagedFile

KEY = "unnest"
"""Where a manifest has its child tables, beside its objects."""

_CHILD_OF = "lakeray.child"


def child_property(pipeline: uuid.UUID, step: str) -> str:
    """The property of a child table that holds the uri of the table whose import fills it."""
    return f"{_CHILD_OF}.{pipeline.hex}.{step}"


def parents(properties: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """By pipeline (hex) and step the tables whose imports fill the child with these ``properties``."""
    found = {}
    for name, uri in properties.items():
        if name.startswith(f"{_CHILD_OF}."):
            pipeline, _, step = name.removeprefix(f"{_CHILD_OF}.").partition(".")
            found[pipeline, step] = uri
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedChild:
    """A child table of a batch: all attempts commit to the tables that the manifest has, in its order.

    ``previous`` is the last batch that the table is known to have, None when this is the first that goes there;
    ``checked`` is the version of the table up to which RESTOREs were dealt with.
    """

    name: str
    uri: str
    table_id: str
    previous: int | None = None
    checked: int = 0


def planned_children(extra: Mapping[str, Any]) -> list[PlannedChild]:
    """What a manifest's ``extra`` says."""
    return [PlannedChild(**item) for item in extra.get(KEY, [])]


def with_children(extra: Mapping[str, Any] | None, children: list[PlannedChild]) -> dict[str, Any]:
    """``extra`` with these child tables in place of those of another manifest."""
    rest = {name: value for name, value in (extra or {}).items() if name != KEY}
    return {**rest, KEY: [asdict(child) for child in children]} if children else rest


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildBatch:
    """What one attempt at a batch has staged for one of its child tables."""

    name: str
    uri: str
    table_id: str
    checked: int = 0
    files: list[StagedFile] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows of the child."""
        return sum(file.rows for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> ChildBatch:
        """The inverse of ``to_json``."""
        return cls(**{**raw, "files": [StagedFile(**file) for file in raw["files"]]})

    @classmethod
    def empty(cls, child: PlannedChild) -> ChildBatch:
        """Nothing for it."""
        return cls(name=child.name, uri=child.uri, table_id=child.table_id, checked=child.checked)
