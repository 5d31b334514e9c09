"""What is done to a table beside imports, safe while imports run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from lakeray.delta import upkeep
from lakeray.delta.table import require_table
from lakeray.delta.tags import tags_of
from lakeray.importer.protect import files_at_work


@dataclass(frozen=True, slots=True)
class TableOf:
    """One table by its uri."""

    uri: str

    def history(self, limit: int = 20) -> list[dict[str, Any]]:
        """The newest commits, newest first."""
        require_table(self.uri)
        return [asdict(entry) for entry in upkeep.history(self.uri, limit)]

    def tags(self) -> dict[str, list[str]]:
        """The classification of the columns that have one."""
        return tags_of(require_table(self.uri))

    def optimize(self, target_size: int | None = None) -> dict[str, Any]:
        """Merge small files towards ``target_size`` bytes; rows and transaction ids stay as they are."""
        return asdict(upkeep.optimize(self.uri, target_size))

    def vacuum(self, retention_hours: int | None = None, dry_run: bool = True) -> list[str]:
        """Files older than the retention that no commit needs and no open batch may still name; removed unless
        ``dry_run``.
        """

        def at_work() -> set[str]:
            return files_at_work(self.uri, now=datetime.now(UTC))

        return list(upkeep.vacuum(self.uri, retention_hours, dry_run=dry_run, protected=at_work))

    def restore(self, version: int) -> dict[str, Any]:
        """Set the table back to ``version``; the next import sees it and does what ``on_restore`` says."""
        return {"restored_to": version, "version": upkeep.restore(self.uri, version)}
