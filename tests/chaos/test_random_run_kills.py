"""A process that attends to many runs is killed at random times, on both backends; afterwards all of them ended right.

Crash points: any. ``LAKERAY_CHAOS_KILLS`` (default 12) kills, drawn from ``LAKERAY_CHAOS_SEED`` (default: the clock),
which is printed; the moments also depend on the machine. Runs import, call functions, wait for an approval that this
process sends, for time and for children, map, fail and are undone. Every few kills all are brought to their end and
everything is checked.
"""

from __future__ import annotations

import os
import random
import sys
import time
from contextlib import suppress
from functools import partial

import pytest

from tests.commands import Started
from tests.polling import eventually
from tests.sample_lake import finished, killed_at_the_end
from tests.unit.runtime import durable_world as world
from tests.unit.runtime.fleet import Fleet, attend

pytestmark = pytest.mark.chaos

KILLS = int(os.environ.get("LAKERAY_CHAOS_KILLS", "12"))
SEED = int(os.environ.get("LAKERAY_CHAOS_SEED") or time.time())
A_ROUND = 25
WITHIN_S = 120


@pytest.mark.parametrize("backend", ["sqlite", "redis"])
@pytest.mark.timeout(300 + 30 * KILLS)
def test_random_kills(request, tmp_path, capsys, backend):
    chance = random.Random(SEED)
    say(capsys, f"runs: {KILLS // 2} kills on {backend}, LAKERAY_CHAOS_SEED={SEED}")
    killed = rounds = early = 0
    while killed < max(1, KILLS // 2):
        folder = tmp_path / f"{rounds}"
        rounds += 1
        fleet = Fleet(folder=folder, uri=address(request, backend, folder))
        kills = min(A_ROUND, max(1, KILLS // 2) - killed)
        for _ in range(kills):
            fleet.add_objects(1)
            for _ in range(chance.choice((1, 2))):
                fleet.begin(chance.choice(("good", "good", "bad")))
            early += not killed_after(fleet, chance.uniform(0.05, 1.5))
            killed += 1
        say(capsys, f"runs: {killed} kills on {backend}, {len(fleet.runs)} runs are brought to their end")
        to_the_end(fleet)
        fleet.check()
    assert not early, "an attendant ends by itself"


def address(request, backend, folder):
    if backend == "sqlite":
        return f"sqlite:///{folder}/state.db"
    import redis

    server = request.getfixturevalue("redis_server")
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    return server.url


def start(fleet):
    env = world.environment(fleet.folder, fleet.uri)
    return Started(["attend"], partial(attend, str(fleet.folder)), env, fleet.folder)


def killed_after(fleet, delay_s):
    """Whether the attendant was alive when it was killed; gates are approved meanwhile."""
    process = start(fleet)
    with killed_at_the_end(process):
        with suppress(AssertionError):  # the time is up: that is what this waits for
            eventually(lambda: fleet.approve() or process.poll() is not None, delay_s)
        return process.poll() is None


def to_the_end(fleet):
    """A last run imports what failed ones have withdrawn."""
    process = start(fleet)
    with killed_at_the_end(process):
        for last in (False, True):
            if last:
                fleet.begin("good")
            eventually(lambda: fleet.approve() or fleet.all_over(), WITHIN_S)
        (fleet.folder / "over").touch()
        done = finished(process)
    assert done.returncode == 0, done.stdout + done.stderr


def say(capsys, line):
    with capsys.disabled():
        sys.stdout.write(f"\n{line}")
        sys.stdout.flush()
