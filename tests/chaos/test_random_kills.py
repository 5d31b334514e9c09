"""Whole runs killed at random times import exactly once, on local disk and S3, raced, with upkeep beside.

Crash points: any. ``LAKERAY_CHAOS_KILLS`` (default 12) kills, drawn from ``LAKERAY_CHAOS_SEED`` (default: the clock),
which is printed; the moments also depend on the machine. After a kill or two a run finishes and everything is checked.
"""

from __future__ import annotations

import os
import random
import sys
import time
from contextlib import suppress

import pytest

from lakeray.errors import TableError
from tests.polling import eventually
from tests.sample_lake import SampleLake, data_files, finished, live

pytestmark = [pytest.mark.chaos, pytest.mark.s3]

KILLS = int(os.environ.get("LAKERAY_CHAOS_KILLS", "12"))
SEED = int(os.environ.get("LAKERAY_CHAOS_SEED") or time.time())
OBJECTS_A_ROUND = 6


@pytest.mark.timeout(60 + 30 * KILLS)
def test_random_kills(tmp_path, s3_server, cloud_environment, capsys):
    cloud_environment(s3_server.env)
    chance = random.Random(SEED)
    lakes = [new_lake(str(tmp_path / "lake"), tmp_path / "local"), new_lake(s3_server.new_bucket(), tmp_path / "s3")]
    say(capsys, f"chaos: {KILLS} kills, LAKERAY_CHAOS_SEED={SEED}")
    spans = [measured(lake) for lake in lakes]
    killed = early = turn = 0
    while killed < KILLS:
        which = turn % 2
        turn += 1
        lake = lakes[which]
        for _ in range(OBJECTS_A_ROUND):
            lake.add(f"{chance.randrange(10**6):06d}.json")
        for _ in range(min(chance.choice((1, 1, 2)), KILLS - killed)):
            delay_s = chance.uniform(0.3, 1.0) * spans[which]
            rivals, upkeep = chance.random() < 0.25, chance.random() < 0.25
            hit = kill_after(lake, delay_s, rivals=rivals, upkeep=upkeep)
            killed += 1
            early += not hit
            beside = "".join([", raced" if rivals else "", ", with upkeep beside" if upkeep else ""])
            where = "s3" if which else "local"
            say(
                capsys,
                f"chaos: kill {killed} of {KILLS}, {where}, after {delay_s:.2f} s{beside}{'' if hit else ', too late'}",
            )
        finish(lake)
    assert early < max(2, KILLS), "the runs were over before they were killed: the delays measure nothing"


def new_lake(root, folder):
    lake = SampleLake(root=root, folder=folder, batch_objects=2)
    lake.add("first.json")
    lake.run_to_the_end()  # also starts the process that the measured ones are forked from
    return lake


def measured(lake):
    """Seconds of a run over one round's objects, in a process of its own."""
    for number in range(OBJECTS_A_ROUND):
        lake.add(f"m{number}.json")
    begun = time.monotonic()
    lake.run_to_the_end()
    return time.monotonic() - begun


def kill_after(lake, delay_s, *, rivals, upkeep):
    """Start a run (and a rival), kill it after some time; whether it was alive then. A rival goes on to its end."""
    process = lake.start()
    rival = lake.start() if rivals else None
    until = time.monotonic() + delay_s
    while upkeep and time.monotonic() < until and process.poll() is None:
        tend(lake)
    with suppress(AssertionError):  # the time is up: that is what this waits for
        eventually(lambda: process.poll() is not None, max(0.0, until - time.monotonic()))
    hit = process.poll() is None
    process.kill()
    process.communicate()
    if rival is not None:
        done = finished(rival)
        assert done.returncode == 0, done.stdout + done.stderr
    return hit


def tend(lake):
    with suppress(TableError):  # no table yet
        table = lake.connect().table(lake.table_uri)
        table.optimize()
        table.vacuum(0, dry_run=False)


def finish(lake):
    """What the kills left is finished; then everything is as if there had been none."""
    lake.import_well()
    lake.check()
    for uri in (lake.table_uri, lake.quarantine_uri):
        lake.connect().table(uri).vacuum(0, dry_run=False)
        assert data_files(uri) == live(uri)
    lake.check()


def say(capsys, line):
    with capsys.disabled():
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
