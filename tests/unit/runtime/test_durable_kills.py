"""A process that drives a run is killed at every failpoint of store and engine, and the next one ends what it left.

Crash points: every name in ``lakeray.failpoints.STATE`` and ``RUNS`` but those of ``ELSEWHERE``, which a run of its own
does not pass; on both backends; at some passes of each (all of them are in the chaos target). The run has a map, a
gate, a wait for what another process says, a child and compensations. Afterwards every sequence is dense, every run is
over, every effect is in the sink once and nothing was completed twice.
"""

from __future__ import annotations

from functools import partial

import pytest

from lakeray import failpoints
from tests.commands import Started
from tests.sample_lake import finished
from tests.unit.runtime import durable_world as world

ELSEWHERE = {"before_settle", "after_settle", "before_put", "after_put", "before_forget", "after_forget"}
"""Killed in tests/unit/state/test_kills.py; who calls them is no run."""
POINTS = [name for name in (*failpoints.STATE, *failpoints.RUNS) if name not in ELSEWHERE]
SOME = (1, 3, 8, 21)
MOST = 200


@pytest.fixture(params=["sqlite", "redis"])
def store(request, tmp_path):
    """Makes the address of an empty store in a folder."""
    if request.param == "sqlite":
        return lambda folder: f"sqlite:///{folder}/state.db"
    import redis

    server = request.getfixturevalue("redis_server")

    def emptied(_):
        with redis.Redis.from_url(server.url) as client:
            client.flushall()
        return server.url

    return emptied


def drive(folder, uri, **env):
    work = partial(world.drive, str(folder), "whole")
    started = Started(["drive"], work, {**world.environment(folder, uri), **env}, folder)
    done = finished(started, within_s=60)
    return done.returncode, done.stdout + done.stderr


def killed_then_ended(folder, store, point, passes):
    """Whether the failpoint was passed so often; the run is right in any case."""
    world.prepare(folder)
    uri = store(folder)
    code, said = drive(folder, uri, LAKERAY_FAILPOINTS=f"{point}=kill:{passes}")
    assert code in (0, -9), said
    if code:
        again, said = drive(folder, uri)
        assert again == 0, said
    world.check_whole(folder, uri)
    return code == -9


@pytest.mark.parametrize("point", POINTS)
def test_a_run_survives_a_kill_at(tmp_path, store, point):
    assert killed_then_ended(tmp_path / "1", store, point, 1), f"a run does not pass {point}"
    for passes in SOME[1:]:
        if not killed_then_ended(tmp_path / str(passes), store, point, passes):
            return


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("point", POINTS)
def test_a_run_survives_a_kill_at_every_pass_of(tmp_path, store, point):
    for passes in range(1, MOST):
        if not killed_then_ended(tmp_path / str(passes), store, point, passes):
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize(("point", "passes"), [("before_append", 3), ("after_effect", 2)])
def test_a_run_whose_every_owner_is_killed_comes_to_its_end(tmp_path, store, point, passes):
    """Each process gets as far as that pass, one step further than the last: the kills walk through the history."""
    folder = tmp_path / "walk"
    world.prepare(folder)
    uri = store(folder)
    for _ in range(MOST):
        code, said = drive(folder, uri, LAKERAY_FAILPOINTS=f"{point}=kill:{passes}")
        if code == 0:
            world.check_whole(folder, uri)
            return
        assert code == -9, said
    raise AssertionError("it never ends")


def test_lost_replies_of_appends_converge(tmp_path, store):
    """An append that happened and was not acknowledged is asked for again under its id, and happened once."""
    for passes in (1, 2, 5, 9):
        folder = tmp_path / str(passes)
        world.prepare(folder)
        uri = store(folder)
        code, said = drive(folder, uri, LAKERAY_FAILPOINTS=f"after_append=error:{passes}")
        assert code == 0, said
        world.check_whole(folder, uri)


def test_what_a_run_does_not_pass_is_killed_elsewhere():
    assert {*failpoints.STATE} >= ELSEWHERE
    assert not {*failpoints.RUNS} & ELSEWHERE
