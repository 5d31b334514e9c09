"""DBOS Transact: workflows of steps, called by as many threads as there are runs at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy
from dbos import DBOS

from benchmarks.durable import steps as s

WARM_UP = 20


@DBOS.step()
def nothing() -> None:
    """The step."""
    s.nothing()


@DBOS.workflow()
def several(steps: int) -> None:
    """The run."""
    for _ in range(steps):
        nothing()


def measure(*, uri: str, folder: str, runs: int, steps: int, at_once: int) -> dict[str, Any]:
    """The runs, and what its system database holds of them."""
    DBOS(
        config={
            "name": "bench",
            "system_database_url": uri,
            "run_admin_server": False,
            "log_level": "ERROR",
            "sys_db_pool_size": max(20, at_once),
        }
    )
    DBOS.launch()
    try:
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(several, [steps] * min(WARM_UP, runs)))
            warm = len(s.taken())
            begin = time.perf_counter()
            list(pool.map(several, [steps] * runs))
            seconds = time.perf_counter() - begin
        calls = s.taken()
    finally:
        DBOS.destroy()
    found, durability = _asked(uri)
    return s.told(
        seconds=seconds,
        runs=runs,
        steps=steps,
        in_history=found - warm,
        at_once=at_once,
        calls=calls,
        durability=durability,
    )


def _asked(uri: str) -> tuple[int, str]:
    engine = sqlalchemy.create_engine(uri.replace("postgresql://", "postgresql+psycopg://"))
    schema = "dbos." if uri.startswith("postgresql") else ""
    with engine.connect() as connection:
        found = connection.execute(sqlalchemy.text(f"SELECT count(*) FROM {schema}operation_outputs")).scalar_one()
        if schema:
            said = [connection.execute(sqlalchemy.text(f"SHOW {name}")).scalar() for name in ("fsync", "wal_level")]
            commit = connection.execute(sqlalchemy.text("SHOW synchronous_commit")).scalar()
            return found, f"PostgreSQL, fsync {said[0]}, synchronous_commit {commit}"
        mode = connection.execute(sqlalchemy.text("PRAGMA journal_mode")).scalar()
        sync = connection.execute(sqlalchemy.text("PRAGMA synchronous")).scalar()
        return found, f"SQLite, journal_mode {mode}, synchronous {sync} (as a connection has it that says nothing)"


if __name__ == "__main__":
    s.main(measure)
