"""Whether it is a batch's turn in a table, or whether the batch has had it.

A Delta transaction id guards nothing by itself, so every commit of a batch asks here first, through the handle that it
then commits through.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lakeray.delta.log import LogCommit, find_transaction, read_commit
from lakeray.delta.table import TableHandle
from lakeray.errors import WITHOUT_A_BACKUP, ExactlyOnceError

NONCE = "lakeray.commit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """``version`` holds the batch; ``won``: this call made it; ``metadata`` is what the call that made it wrote."""

    version: int
    won: bool
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """Batch ``number`` of ``app_id``; ``previous`` is the last number that the ledger has recorded, None for nothing.

    With ``dense`` the table must stand at ``number - 1``; without, at any lower number. ``nonce`` marks this call's own
    commit.
    """

    app_id: str
    number: int
    previous: int | None
    dense: bool
    nonce: str

    def had(self, handle: TableHandle) -> Committed | None:
        """The commit of this batch when the table has it, by this call (its reply was lost) or by another; None when
        it is this batch's turn. Raises ExactlyOnceError when the table contradicts ``previous`` or ``number``.
        """
        seen = handle.transaction_version(self.app_id)
        if seen is not None and seen >= self.number:
            return self._committed(self._find(handle, seen))
        self._check_order(handle.uri, seen)
        return None

    def actions(self, now_ms: int) -> list[dict[str, Any]]:
        """What the commit of this batch leaves in the log, so that it is not made again."""
        return [{"txn": {"appId": self.app_id, "version": self.number, "lastUpdated": now_ms}}]

    def _find(self, handle: TableHandle, seen: int) -> LogCommit:
        uri = handle.uri
        commit = find_transaction(uri, app_id=self.app_id, number=self.number, version=handle.version)
        if commit is None and seen > self.number:
            raise ExactlyOnceError(
                f"the table at {uri} is at batch {seen} of {self.app_id}, beyond batch {self.number}, "
                "which its log does not hold",
                uri=uri,
                hint="another importer went on: run again, so that the ledger is read anew; if this stays, "
                "`lakeray ledger rebuild`",
            )
        if commit is None:
            raise ExactlyOnceError(
                f"batch {self.number} of {self.app_id} is in the table at {uri}, "
                "but the log no longer says what it did",
                uri=uri,
                hint="the log was cleaned up before the batch was recorded: restore the log or the ledger folder from "
                f"a backup or a bucket version; {WITHOUT_A_BACKUP}",
            )
        return commit

    def _committed(self, commit: LogCommit) -> Committed:
        found = commit.metadata()
        return Committed(version=commit.version, won=found.get(NONCE) == self.nonce, metadata=found)

    def _check_order(self, uri: str, seen: int | None) -> None:
        """Raise ExactlyOnceError unless this number is the one that the table waits for."""
        recorded = self.previous or 0
        if seen is None and recorded > 0:
            raise ExactlyOnceError(
                f"the ledger has recorded batch {recorded} of {self.app_id}, but the table at {uri} knows none",
                uri=uri,
                hint="the table was recreated or its transaction ids expired: to import everything again into the "
                "table as it is, move the import's folder under _lakeray/ away",
            )
        if (seen or 0) < recorded:
            raise ExactlyOnceError(
                f"the ledger has recorded batch {recorded} of {self.app_id}, but the table at {uri} is at {seen}",
                uri=uri,
                hint="the table was replaced by an older copy: restore it, or `lakeray ledger rebuild`",
            )
        if self.dense and (seen or 0) != self.number - 1:
            raise ExactlyOnceError(
                f"batch {self.number} of {self.app_id} cannot follow batch {seen or 0}, where the table at {uri} is",
                uri=uri,
                hint=f"finish batch {(seen or 0) + 1} first: its manifest is in the table's _lakeray folder",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class NoTurn:
    """A commit that belongs to no batch and could be made by anyone: ``nonce`` alone says whether this call made it.

    ``since`` is a version of the table before the first try.
    """

    nonce: str
    since: int

    def had(self, handle: TableHandle) -> Committed | None:
        """This call's own commit when its reply was lost; else None."""
        for version in range(self.since + 1, handle.version + 1):
            commit = read_commit(handle.uri, version)
            if commit is not None and commit.info.get(NONCE) == self.nonce:
                return Committed(version=version, won=True, metadata=commit.metadata())
        return None

    def actions(self, now_ms: int) -> list[dict[str, Any]]:  # noqa: ARG002 - as of a batch's turn
        """Nothing: a transaction id for each would stay in the log for ever."""
        return []
