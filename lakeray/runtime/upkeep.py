"""What is done to a table beside imports, safe while imports run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from lakeray.delta import upkeep
from lakeray.delta.parquet import WriteOptions
from lakeray.delta.table import require_table
from lakeray.delta.tags import tags_of
from lakeray.delta.vacuum import StaleFile, vacuum
from lakeray.importer.executor import Executor, InlineExecutor
from lakeray.importer.profile.model import TableProfile
from lakeray.importer.protect import files_at_work
from lakeray.importer.upkeep import log
from lakeray.importer.upkeep.optimize import optimize
from lakeray.importer.upkeep.work import TARGET_BYTES, Wish
from lakeray.spec.tables import Table


def _inline(_: str) -> Executor:
    return InlineExecutor()


@dataclass(frozen=True, slots=True)
class TableOf:
    """One table by its uri; ``table`` is what a workflow file says of it. ``executor`` gives by a name what heavy work
    runs on.
    """

    uri: str
    table: Table | None = None
    executor: Callable[[str], Executor] = field(default=_inline, repr=False)
    memory_bytes: int = 512 * 2**20
    masked: frozenset[str] = frozenset()
    """Columns that imports mask: no value of theirs is shown."""

    def history(self, limit: int = 20) -> list[dict[str, Any]]:
        """The newest commits, newest first."""
        require_table(self.uri)
        return [asdict(entry) for entry in upkeep.history(self.uri, limit)]

    def tags(self) -> dict[str, list[str]]:
        """The classification of the columns that have one."""
        return tags_of(require_table(self.uri))

    def optimize(
        self,
        target_size: int | None = None,
        *,
        z_order: Sequence[str] = (),
        one_commit: bool = False,
        least_files: int = 2,
        check: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """Merge small files towards ``target_size`` bytes, or with ``z_order`` put all rows of each partition in the
        order of these columns; rows and transaction ids stay as they are.
        """
        wish = Wish(
            target_bytes=target_size or (self.table.target_file_size if self.table else None),
            z_order=tuple(z_order),
            one_commit=one_commit,
            least_files=least_files,
            options=self._options(),
            memory_bytes=self.memory_bytes,
        )
        return asdict(optimize(self.uri, wish, executor=self.executor("optimize"), check=check))

    def vacuum(self, retention_hours: int | None = None, dry_run: bool = True) -> list[str]:
        """The paths of what ``stale_files`` says."""
        return [file.path for file in self.stale_files(retention_hours, dry_run=dry_run)]

    def stale_files(self, retention_hours: int | None = None, *, dry_run: bool = True) -> list[StaleFile]:
        """Files older than the retention that no commit needs and no open batch may still name; removed unless
        ``dry_run``.
        """

        def at_work() -> set[str]:
            return files_at_work(self.uri, now=datetime.now(UTC))

        return vacuum(self.uri, retention_hours, dry_run=dry_run, protected=at_work)

    def checkpoint(self, *, clean_log: bool = False) -> dict[str, Any]:
        """Write a checkpoint of the log; with ``clean_log`` delete entries older than the table keeps them, but for
        those that an import or a RESTORE may still ask for.
        """
        version = log.write_checkpoint(self.uri)
        cleaned = log.clean_log(self.uri, now=datetime.now(UTC)) if clean_log else None
        return {"version": version, **(asdict(cleaned) if cleaned else {})}

    def look(self, *, check: Callable[[], None] = lambda: None) -> TableProfile:
        """Statistics of every column and of the files, from one pass over all rows."""
        from lakeray.importer.profile.table import profile  # with the sketches' library, which nothing else needs

        return profile(
            self.uri,
            hidden=self.masked,
            target_bytes=self.table.target_file_size if self.table else TARGET_BYTES,
            memory_bytes=self.memory_bytes,
            executor=self.executor("profile"),
            check=check,
        )

    def clean_log(self, *, now: datetime) -> int:
        """How many entries of the log, old and asked for by no import, were deleted."""
        return log.clean_log(self.uri, now=now).deleted

    def restore(self, version: int) -> dict[str, Any]:
        """Set the table back to ``version``; the next import sees it and does what ``on_restore`` says."""
        return {"restored_to": version, "version": upkeep.restore(self.uri, version)}

    def _options(self) -> WriteOptions:
        if self.table is None:
            return WriteOptions()
        return WriteOptions(compression=self.table.codec.codec, compression_level=self.table.codec.effort)
