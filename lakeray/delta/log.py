"""The commits of a Delta table's log, read one by one from their JSON files.

delta-rs numbers the entries of ``history()`` by counting down from the version of its handle, which names the wrong
commits when another writer was faster. The file name of a commit cannot be wrong. Source:
https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from lakeray.errors import ObjectNotFound, TableError
from lakeray.objects import ObjectStore, join, open_store


@dataclass(frozen=True, kw_only=True, slots=True)
class LogCommit:
    """One commit: its commitInfo, the transaction ids it recorded, how many files it added."""

    version: int
    info: dict[str, Any] = field(default_factory=dict)
    transactions: dict[str, int] = field(default_factory=dict)
    adds: int = 0

    def metadata(self) -> dict[str, str]:
        """What lakeray wrote beside the data: flat strings whose names begin with ``lakeray.``."""
        return {name: str(value) for name, value in self.info.items() if name.startswith("lakeray.")}


def commit_uri(table_uri: str, version: int) -> str:
    """Where the JSON file of a commit is."""
    return join(table_uri, "_delta_log", f"{version:020d}.json")


def read_commit(table_uri: str, version: int, *, store: ObjectStore | None = None) -> LogCommit | None:
    """The commit of that version; None when its file is not in the log: cleaned up, or not yet written."""
    uri = commit_uri(table_uri, version)
    try:
        data = (store or open_store(table_uri)).read(uri)
    except ObjectNotFound:
        return None
    info: dict[str, Any] = {}
    transactions: dict[str, int] = {}
    adds = 0
    try:
        for line in data.splitlines():
            adds += line.startswith(b'{"add"')
            # Only two kinds of action matter here; a commit may hold a hundred thousand others.
            if line.startswith((b'{"commitInfo"', b'{"txn"')) or b'"commitInfo"' in line[:64] or b'"txn"' in line[:64]:
                action = orjson.loads(line)
                info.update(action.get("commitInfo") or {})
                if txn := action.get("txn"):
                    transactions[txn["appId"]] = txn["version"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TableError(
            f"the log entry {uri} cannot be read: {error}",
            uri=table_uri,
            hint="restore the file from a backup or a bucket version",
        ) from error
    return LogCommit(version=version, info=info, transactions=transactions, adds=adds)


def read_back(table_uri: str, version: int) -> Iterator[LogCommit]:
    """The commits from ``version`` downward, as far as the log goes."""
    store = open_store(table_uri)
    for number in range(version, -1, -1):
        found = read_commit(table_uri, number, store=store)
        if found is None:
            return
        yield found


def find_transactions(table_uri: str, *, app_id: str, numbers: Collection[int], version: int) -> dict[int, LogCommit]:
    """For each of ``numbers`` what ``find_transaction`` finds, by one walk through the log; those it lacks are left
    out.
    """
    found: dict[int, LogCommit] = {}
    wanted = set(numbers)
    for commit in read_back(table_uri, version) if wanted else ():
        number = commit.transactions.get(app_id)
        if number in wanted:
            wanted.discard(number)
            found[number] = commit
        if not wanted:
            break
    return found


def find_transaction(table_uri: str, *, app_id: str, number: int, version: int) -> LogCommit | None:
    """The newest commit up to ``version`` that recorded ``(app_id, number)``; None when the log holds it no more."""
    for commit in read_back(table_uri, version):
        if commit.transactions.get(app_id) == number:
            return commit
    return None


def changes_data(table_uri: str, version: int) -> bool:
    """Whether a commit says that it changes rows; so it is taken for one that is in the log no more."""
    uri = commit_uri(table_uri, version)
    try:
        data = open_store(table_uri).read(uri)
    except ObjectNotFound:
        return True
    try:
        actions = [orjson.loads(line) for line in data.splitlines() if line]
        return any(
            name in action and action[name].get("dataChange", True) for action in actions for name in ("add", "remove")
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise TableError(
            f"the log entry {uri} cannot be read: {error}",
            uri=table_uri,
            hint="restore the file from a backup or a bucket version",
        ) from error
