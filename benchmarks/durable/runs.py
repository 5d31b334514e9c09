"""Runs of ten steps that do nothing, each step durable: how many a second, eight and sixty-four runs at once.

Engines take turns, each measurement in a process of its own that has driven some runs before. What is counted are
steps of runs that are over; every engine's own history is asked whether all of them are in it.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.durable.disk import sync_ms
from benchmarks.durable.postgres import private_postgres, programs
from benchmarks.machine import versions
from benchmarks.measure import Bench, in_process

STEPS = 10
AT_ONCE = (1, 8, 64)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """``share``: of the runs that others do, for those that are slow. ``most_at_once`` leaves tables out."""

    name: str
    module: str
    how: str
    packages: tuple[str, ...]
    store: str = "file"
    share: float = 1.0
    most_at_once: int = 64
    extra: dict[str, str] = field(default_factory=dict)


ENGINES = (
    Engine(
        name="lakeray, SQLite",
        module="lakeray_runs",
        how="one orchestrator, functions in warm threads",
        packages=("lakeray",),
    ),
    Engine(
        name="lakeray, Redis",
        module="lakeray_runs",
        how="likewise; `appendfsync always`",
        packages=("lakeray", "redis"),
        store="redis",
    ),
    Engine(
        name="DBOS, PostgreSQL",
        module="dbos_runs",
        how="`@DBOS.workflow` with `@DBOS.step`, called by as many threads",
        packages=("dbos", "psycopg"),
        store="postgres",
    ),
    Engine(
        name="DBOS, SQLite",
        module="dbos_runs",
        how="likewise",
        packages=("dbos",),
        share=0.1,
    ),
    Engine(
        name="Prefect",
        module="prefect_runs",
        how="`@flow` with `@task`, its own local server on SQLite",
        packages=("prefect",),
        share=0.01,
        most_at_once=8,
    ),
    Engine(
        name="Dagster",
        module="dagster_runs",
        how="a `@job` of `@op`s, `execute_in_process` with an instance on SQLite",
        packages=("dagster",),
        share=0.01,
        most_at_once=1,
    ),
)


def measured(bench: Bench, runs: int) -> dict[str, Any]:
    """The table: every engine that is installed, at every number of runs at once."""
    place = bench.out / "durable"
    place.mkdir(parents=True, exist_ok=True)
    disk_ms = sync_ms(place)
    engines = [engine for engine in ENGINES if _takes_part(bench, engine)]
    cases = []
    for at_once in AT_ONCE:
        held: dict[str, list[dict[str, Any]]] = {engine.name: [] for engine in engines}
        for turn in range(bench.repetitions):
            for engine in engines:
                if at_once > engine.most_at_once:
                    continue
                count = max(at_once, int(runs * engine.share / (10 if at_once == 1 else 1)))
                held[engine.name].append(_measured(bench, engine, count, at_once, place))
                bench.say(f"  {turn + 1}/{bench.repetitions} {at_once} at once, {engine.name}: {held[engine.name][-1]}")
        cases.extend(_case(engine, at_once, held[engine.name]) for engine in engines if held[engine.name])
    shutil.rmtree(place, ignore_errors=True)
    return {"workload": "runs", "rows": runs, "steps": STEPS, "sync_ms": disk_ms, "cases": cases}


def _takes_part(bench: Bench, engine: Engine) -> bool:
    """Whether it is installed, its server too; what is not is said."""
    missing = sorted(set(engine.packages) - set(versions(engine.packages)))
    if engine.store == "postgres" and programs() is None:
        missing.append("PostgreSQL's initdb")
    if engine.store == "redis" and not shutil.which("redis-server"):
        missing.append("redis-server")
    if missing:
        bench.say(f"{engine.name} does not take part: {', '.join(missing)} is not installed")
    return not missing


def _measured(bench: Bench, engine: Engine, runs: int, at_once: int, place: Path) -> dict[str, Any]:
    folder = place / "measurement"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.sync()
    with _store(engine, folder) as uri:
        spec = {"uri": uri, "folder": str(folder), "runs": runs, "steps": STEPS, "at_once": at_once}
        arguments = [f"benchmarks.durable.{engine.module}", json.dumps(spec)]
        return in_process(arguments, folder=folder, limit_s=bench.limit_s, extra=engine.extra)


@contextmanager
def _store(engine: Engine, folder: Path) -> Iterator[str]:
    """The address of an empty store of the engine's kind."""
    if engine.store == "postgres":
        with private_postgres(folder / "postgres") as uri:
            yield uri
    elif engine.store == "redis":
        from tests.servers import start_redis

        with start_redis(folder / "redis") as server:
            yield server.url
    else:
        yield f"sqlite:///{folder}/state.db"


def _case(engine: Engine, at_once: int, held: list[dict[str, Any]]) -> dict[str, Any]:
    about = {
        "name": engine.name,
        "at_once": at_once,
        "how": engine.how,
        "versions": versions(engine.packages),
    }
    bad = [each for each in held if each["outcome"] != "right"]
    if bad:
        return {**about, **bad[0]}
    rates = [each["steps"] / each["seconds"] for each in held]
    gaps = [each["gap_ms"] for each in held]
    return {
        **about,
        "outcome": "right",
        "runs": held[0]["steps"] // STEPS,
        "steps_per_s": statistics.median(rates),
        "least_per_s": min(rates),
        "most_per_s": max(rates),
        "gap_ms": statistics.median(gaps),
        "durability": held[0]["durability"],
    }
