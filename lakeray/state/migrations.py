"""A store of an earlier format becomes one of today's, forward only, when somebody asks for it.

Opening never changes a store's format: a store that was migrated cannot be read by the release before.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lakeray.errors import ConfigError, LeaseHeld, StateFormat
from lakeray.state.sqlite import schema
from lakeray.state.sqlite.owner import OwnerLock


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """From ``to_format - 1`` to ``to_format``; ``what`` says to a person what changes.

    On SQLite a step happens whole or not at all. On Redis one that was interrupted is begun again: it must bear that.
    """

    to_format: int
    what: str
    sqlite: Callable[[sqlite3.Connection], None]
    redis: Callable[[Any], None]


STEPS: tuple[Step, ...] = ()
"""Every step there ever was. Format 1 is the first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Migration:
    """What was done, or would be: the ``steps`` in words, and where the copy from before lies (SQLite only)."""

    found: int
    reached: int
    steps: tuple[str, ...]
    copy: str | None = None


def migrate(uri: str, *, dry_run: bool, steps: Sequence[Step] = STEPS) -> Migration:
    """Bring the store at ``uri`` to the newest format; with ``dry_run`` only say what that would do.

    Raises LeaseHeld while somebody owns it, StateFormat for a store of a later release or none at all, ConfigError for
    another scheme.
    """
    if found := re.fullmatch(r"sqlite:///(.+)", uri):
        return _migrate_file(Path(found[1]).absolute(), steps, dry_run=dry_run)
    if re.fullmatch(r"rediss?://.+", uri):
        return _migrate_server(uri, steps, dry_run=dry_run)
    raise ConfigError(f"there is no event store at {uri.partition(':')[0]!r}", hint="see LAKERAY_STATE")


def _planned(place: str, found: int, steps: Sequence[Step]) -> list[Step]:
    newest = max([1, *(step.to_format for step in steps)])
    if found > newest:
        raise StateFormat(
            f"{place} has format {found}, this version of lakeray knows formats up to {newest}",
            hint="there is no way back: update this lakeray",
        )
    return sorted((step for step in steps if step.to_format > found), key=lambda step: step.to_format)


def _told(found: int, planned: Sequence[Step], copy: Path | None = None) -> Migration:
    return Migration(
        found=found,
        reached=max([found, *(step.to_format for step in planned)]),
        steps=tuple(f"{step.to_format}: {step.what}" for step in planned),
        copy=None if copy is None else str(copy),
    )


def _migrate_file(path: Path, steps: Sequence[Step], *, dry_run: bool) -> Migration:
    if not path.exists():
        raise StateFormat(f"there is no state file {path}", hint="look at LAKERAY_STATE")
    owner = OwnerLock(path)
    owner.acquire("migration")
    try:
        with closing(schema.connect(path)) as connection:
            application, found = schema.file_format(connection)
            if application != schema.APPLICATION_ID:
                raise StateFormat(f"{path} is not a state file of lakeray", hint="look at LAKERAY_STATE")
            planned = _planned(str(path), found, steps)
            if dry_run or not planned:
                return _told(found, planned)
            copy = path.with_name(f"{path.name}.format-{found}")
            copy.unlink(missing_ok=True)
            connection.execute("VACUUM INTO ?", (str(copy),))
            for step in planned:
                connection.execute("BEGIN IMMEDIATE")
                step.sqlite(connection)
                connection.execute(f"PRAGMA user_version = {step.to_format}")
                connection.execute("COMMIT")
            return _told(found, planned, copy)
    except sqlite3.Error as error:
        raise schema.failure(path, error) from error
    finally:
        owner.release()


def _migrate_server(uri: str, steps: Sequence[Step], *, dry_run: bool) -> Migration:
    import redis

    from lakeray.state.redis import PREFIX
    from lakeray.state.redis.failures import address_of, told
    from lakeray.state.redis.scripts import call

    with redis.Redis.from_url(uri) as client:
        address = address_of(client)
        with told(address):
            number, shards = client.hmget(f"{PREFIX}store", "format", "shards")
            if number is None:
                raise StateFormat(f"{address} holds no runs of lakeray", hint="look at LAKERAY_STATE")
            planned = _planned(address, int(number), steps)
            for shard in range(int(shards)):
                if row := call(client, "leased", f"{PREFIX}{{{shard}}}:"):
                    raise LeaseHeld(
                        f"shard {shard} of {address} is owned by {row[0].decode()}", hint="end every orchestrator first"
                    )
            if not dry_run:
                for step in planned:
                    step.redis(client)
                    client.hset(f"{PREFIX}store", "format", str(step.to_format))
            return _told(int(number), planned)
