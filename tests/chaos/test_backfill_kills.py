"""A backfill and the stream beside it, both killed at random times and carried on by others, import every object once.

Crash points: any. ``LAKERAY_CHAOS_KILLS`` (default 12) kills, drawn from ``LAKERAY_CHAOS_SEED`` (default: the clock),
which is printed. New objects come all the while, also into days that are being backfilled.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

import lakeray
from lakeray.config import Settings
from tests.commands import Started
from tests.sample_lake import finished, read

pytestmark = pytest.mark.chaos

KILLS = int(os.environ.get("LAKERAY_CHAOS_KILLS", "12"))
SEED = int(os.environ.get("LAKERAY_CHAOS_SEED") or time.time())
DAYS = 8
WITHIN_S = 120
LONGEST_S = 4.0
WORKFLOW = """
workflow: orders
sources: {{raw: {{uri: "{folder}/raw/", format: json}}}}
tables: {{orders: {{uri: "{folder}/orders"}}}}
steps:
  ingest:
    import: {{from: raw, into: orders, batch: {{max_objects: 3}}}}
    retry: {{maximum_attempts: 100, initial_interval: 100ms, backoff_coefficient: 1.0}}
"""


def connect(folder: str, state: str) -> lakeray.lake.Lake:
    return lakeray.connect(settings=Settings(executor="inline", state=f"sqlite:///{folder}/{state}.db"))


def stream(folder: str) -> None:
    """Its state is another one: as if it were another machine's."""
    connect(folder, "stream").run(f"{folder}/orders.yaml").result(timeout=WITHIN_S)


def backfill(folder: str) -> None:
    lake = connect(folder, "backfill")
    left = [each for each in lake.backfills.list() if each.state == "running"]
    if left:
        lake.backfills.resume(left[0].backfill_id).result(timeout=WITHIN_S)
        return
    asked = {"start": "2024-01-01", "end": f"2024-01-{DAYS:02d}", "every": "1 day", "by": "day"}
    lake.backfill(f"{folder}/orders.yaml", **asked, concurrency=3, reprocess="all").result(timeout=WITHIN_S)


def start(folder: Path, work) -> Started:
    return Started([work.__name__], partial(work, str(folder)), dict(os.environ), folder)


def add(folder: Path, chance: random.Random, count: int) -> None:
    for _ in range(count):
        name = f"{chance.randrange(10**9):09d}"
        path = folder / "raw" / f"day=2024-01-{chance.randint(1, DAYS + 2):02d}" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps({"id": name}) + "\n")
        draft.rename(path)


@pytest.mark.timeout(120 + 60 * KILLS)
def test_random_kills(tmp_path, capsys):
    chance = random.Random(SEED)
    with capsys.disabled():
        sys.stdout.write(f"\nchaos: {KILLS} kills, LAKERAY_CHAOS_SEED={SEED}\n")
    (tmp_path / "orders.yaml").write_text(WORKFLOW.format(folder=tmp_path))
    killed = 0
    while killed < KILLS:
        add(tmp_path, chance, 20)
        pair = [start(tmp_path, work) for work in (stream, backfill)]
        victims = [each for each in pair if chance.random() < 0.7]
        for each in victims:
            time.sleep(chance.uniform(0.1, LONGEST_S))
            each.kill()
            killed += 1
        for each in pair:
            finished(each, within_s=WITHIN_S)
        assert max(found(tmp_path).values(), default=1) == 1
    for work in (backfill, stream, stream):
        assert finished(start(tmp_path, work), within_s=WITHIN_S).returncode == 0
    assert found(tmp_path) == Counter(path.stem for path in (tmp_path / "raw").rglob("*.json"))


def found(folder: Path) -> Counter[str]:
    table = folder / "orders"
    return Counter(read(str(table))["id"].to_pylist()) if (table / "_delta_log").exists() else Counter()
