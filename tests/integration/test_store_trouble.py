"""Whatever happens to a Redis server under an orchestrator, its runs end right once the server is itself again.

Crash points: the server refuses (OOM, READONLY, BUSY, LOADING, MISCONF), freezes, dies while a step is at work, dies
at each call of a recovery, loses replies, loses what it had acknowledged. Owners freeze and come back, or believe that
they own what somebody else took over. Nothing is completed twice, no effect happens twice; in all but the last two
cases no effect is even asked for twice.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest

import lakeray
from lakeray import failpoints
from lakeray.config import Settings
from lakeray.errors import HistoryWentBack, StateUnavailable
from lakeray.runtime.bench import utc_now
from lakeray.runtime.durable import embedded
from lakeray.state import open_event_store
from lakeray.state.redis import store as redis_store
from lakeray.workflow import commands as c
from lakeray.workflow import events as e
from tests.commands import Started
from tests.missing import or_skip
from tests.polling import eventually
from tests.sample_lake import finished, killed_at_the_end
from tests.servers import OwnRedis, ServerMissing
from tests.servers.lossy import lossy
from tests.servers.processes import free_ports
from tests.unit.runtime import durable_world as world
from tests.unit.runtime.desk import WITHIN_S, asked, check_steady, desk, stopped


@pytest.fixture
def server(tmp_path):
    try:
        server = OwnRedis(tmp_path / "redis")
    except ServerMissing as missing:
        or_skip(missing)
    yield server
    server.running.close()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs"


# The server refuses, freezes, dies --------------------------------------------------------------------------------


@contextmanager
def without_memory(server):
    server.client().config_set("maxmemory", "100kb")
    yield
    server.client().config_set("maxmemory", "0")


@contextmanager
def as_a_replica(server):
    server.client().execute_command("REPLICAOF", "127.0.0.1", str(free_ports(1)[0]))
    yield
    server.client().execute_command("REPLICAOF", "NO", "ONE")


@contextmanager
def without_replicas(server):
    server.client().config_set("min-replicas-to-write", "1")
    yield
    server.client().config_set("min-replicas-to-write", "0")


@contextmanager
def dead(server):
    server.kill()
    yield
    server.start()


@contextmanager
def loading(server):
    server.start_slowly()
    yield
    server.kill()
    server.start()


@contextmanager
def frozen(server):
    os.kill(server.now.pid, signal.SIGSTOP)
    yield
    os.kill(server.now.pid, signal.SIGCONT)


TROUBLES = [without_memory, as_a_replica, without_replicas, OwnRedis.busy, dead, loading, frozen]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_a_run_waits_for_a_server_in_trouble(folder, server, monkeypatch, trouble):
    monkeypatch.setattr(redis_store, "_PATIENCE_S", 0.2)
    with desk(folder, server.url, monkeypatch) as at:
        at.begin("r")
        at.at_step("r", "two")
        with trouble(server):
            at.let_go()
            at.tried_again("r")
        assert at.ended("r").ended == "succeeded"
        check_steady(folder, server.url, "r")


def test_a_run_goes_on_when_its_lease_ran_out_and_nobody_came(folder, server, monkeypatch):
    with desk(folder, server.url, monkeypatch, ttl_s=1.5) as at:
        at.begin("r")
        at.at_step("r", "two")
        with dead(server):
            eventually(lambda: not at.orchestrator._leases.sure(at.held("r").shard), WITHIN_S)
            at.let_go()
            at.tried_again("r")
        assert at.ended("r").ended == "succeeded"
    check_steady(folder, server.url, "r")


def test_a_server_that_dies_under_load(folder, server, monkeypatch):
    """It dies and comes back four times while ten runs of every kind of step go on."""
    runs = [f"r{number}" for number in range(10)]
    with desk(folder, server.url, monkeypatch) as at:
        begun = [at.orchestrator.tell(run_id, world.accept(folder, "whole", run_id)) for run_id in runs]
        for share in (0, 10, 25, 50):
            eventually(lambda share=share: asked(folder).total() >= share, WITHIN_S, every_s=0.005)
            restart(server)
        assert [future.result(WITHIN_S).run_id for future in begun] == runs
        assert [at.ended(run_id).ended for run_id in runs] == ["failed"] * len(runs)
    world.check_whole(folder, server.url, *runs)
    assert set(asked(folder).values()) == {1}, "nobody died but the server"


class Restarting:
    """A store whose server dies and comes back just as ``method`` is called, the first ``times``."""

    def __init__(self, store, restart, method, times):
        self._store, self._restart, self._method, self.left = store, restart, method, times

    def __getattr__(self, name):
        if name == self._method and self.left:
            self.left -= 1
            self._restart()
        return getattr(self._store, name)


def restart(server):
    """In a thread that stays: the server dies with the thread that started it."""
    server.kill()
    server.start()


@pytest.mark.parametrize("method", ["active", "load_snapshot", "read", "submit", "received", "renew"])
def test_a_server_that_restarts_during_recovery(folder, server, monkeypatch, method):
    """The owner was killed with two runs at work; the next one reads what is left while the server restarts."""
    with desk(folder, server.url, monkeypatch, ttl_s=0.4) as at:
        for run_id in ("r", "s"):
            at.begin(run_id)
            at.at_step(run_id, "two")
        at.orchestrator._loop.end()  # as if killed: nothing is released, its workers report to nobody
        with open_event_store(server.url) as store, ThreadPoolExecutor(1) as starter:
            at.let_go()
            moody = Restarting(store, lambda: starter.submit(restart, server).result(), method, times=2)
            with desk(folder, server.url, monkeypatch, store=moody, ttl_s=1.0):
                assert [at.ended(run_id).ended for run_id in ("r", "s")] == ["succeeded"] * 2
            assert not moody.left
            check_steady(folder, server.url, "r", "s", once=False)


def test_replies_that_get_lost(folder, server, monkeypatch):
    chance, left = random.Random(7), [40]
    open_for_loss = threading.Event()

    def loses():
        lost = open_for_loss.is_set() and left[0] > 0 and chance.random() < 0.3
        left[0] -= lost
        return lost

    runs = [f"r{number}" for number in range(4)]
    with (
        lossy(server.port, loses) as port,
        open_event_store(f"redis://127.0.0.1:{port}/0") as store,
        desk(folder, server.url, monkeypatch, store=store) as at,
    ):
        at.let_go()
        open_for_loss.set()
        for run_id in runs:
            at.begin(run_id)
        eventually(lambda: left[0] == 0, WITHIN_S)
        with open_event_store(server.url) as sure:
            at.store = sure
            assert [at.ended(run_id).ended for run_id in runs] == ["succeeded"] * len(runs)
    check_steady(folder, server.url, *runs)


# The server forgets -------------------------------------------------------------------------------------------------


def test_a_run_that_lost_events_is_parked_and_says_so_and_others_go_on(folder, server, monkeypatch, caplog):
    """The last second of the append-only file is gone. ``runs show`` and ``runs list`` say so, the log too; a person
    resumes the run, and its effects are in the sink once for all that.
    """
    server.client().config_set("appendfsync", "everysec")
    lake = lakeray.connect(settings=Settings(executor="inline", state=server.url))
    with desk(folder, server.url, monkeypatch) as at:
        at.begin("kept")
        at.at_step("kept", "two")
        at.begin("lost")
        at.at_step("lost", "two")
        kept = len(world.histories(server.url)["lost"])
        before = server.size_bytes()
        with open_event_store(server.url) as store:
            world.say(store, "lost", c.SendEvent(at=utc_now(), name="word", principal="me"))
        with caplog.at_level(logging.ERROR):
            server.lose(server.size_bytes() - before)
            at.let_go()
            eventually(lambda: at.orchestrator.parked("lost"), WITHIN_S)
        assert at.ended("kept").ended == "succeeded"
        assert "run lost is parked: the store has lost its last 1 events" in caplog.text
        shown = lake.runs.show("lost")
        assert (shown.state, lake.runs.list(state="paused")[0].run_id) == ("waiting", "lost")
        [note] = shown.notes
        assert note.startswith("paused: the store has lost its last 1 events: find out which backup")
        history = world.histories(server.url)["lost"]
        assert isinstance(history[kept], e.RunPaused)
        lake.runs.resume("lost")
        assert at.ended("lost").ended == "succeeded"
    check_steady(folder, server.url, "kept", "lost", once=False)


def test_a_run_whose_end_was_lost_is_not_done_again_before_a_person_says_so(folder, server, monkeypatch):
    server.client().config_set("appendfsync", "everysec")
    with desk(folder, server.url, monkeypatch) as at:
        at.begin("r")
        at.at_step("r", "two")
        size = server.size_bytes()
        at.let_go()
        before = at.ended("r").sequence
        server.lose(server.size_bytes() - size)
        at.orchestrator._orphans._looked = 0.0
        eventually(lambda: at.orchestrator.parked("r"), WITHIN_S)
        assert isinstance(world.histories(server.url)["r"][-1], e.RunPaused)
        assert len(world.histories(server.url)["r"]) < before
        lakeray.connect(settings=Settings(executor="inline", state=server.url)).runs.resume("r")
        assert at.ended("r").ended == "succeeded"
    check_steady(folder, server.url, "r", once=False)


def test_a_run_in_the_foreground_that_lost_events_fails_aloud(folder, server, monkeypatch):
    server.client().config_set("appendfsync", "everysec")
    world.prepare(folder)
    monkeypatch.setenv("SINK", str(folder / "sink"))
    run = lakeray.connect(settings=Settings(executor="inline", state=server.url)).run(folder / "steady.yaml")
    eventually(lambda: asked(folder)[f"{run.run_id}~two"], WITHIN_S)
    size = server.size_bytes()
    with open_event_store(server.url) as store:
        world.say(store, run.run_id, c.SendEvent(at=utc_now(), name="word"))
    server.lose(server.size_bytes() - size)
    (folder / "let-go").touch()
    with pytest.raises(HistoryWentBack, match=f"run {run.run_id} does not go on here: the store has lost") as told:
        run.result(WITHIN_S)
    assert told.value.exit_code == 1
    done = lakeray.connect(settings=Settings(executor="inline", state=server.url)).runs.resume(run.run_id)
    assert done.result(WITHIN_S).state == "succeeded"
    check_steady(folder, server.url, run.run_id, once=False)


# Owners that are none any more --------------------------------------------------------------------------------------


def test_of_two_orchestrators_that_believe_in_their_lease_one_is_fenced(folder, server, monkeypatch):
    """The first one's loop hangs beyond its lease; when it goes on it still believes, and its worker reports to it."""
    go_on = threading.Event()
    with desk(folder, server.url, monkeypatch, ttl_s=1.0) as first:
        first.begin("r")
        first.at_step("r", "two")
        leases = first.orchestrator._leases
        monkeypatch.setattr(leases, "sure", lambda shard: True)
        monkeypatch.setattr(leases, "renew", lambda: ([], []))
        first.orchestrator._loop.post(go_on.wait)
        with desk(folder, server.url, monkeypatch, ttl_s=60) as second:
            eventually(lambda: asked(folder)["r~two"] == 2, WITHIN_S)
            first.let_go()
            go_on.set()
            eventually(lambda: first.orchestrator.parked("r"), WITHIN_S)
            assert "taken over" in str(first.orchestrator.parked("r"))
            assert second.ended("r").ended == "succeeded"
    check_steady(folder, server.url, "r", once=False)


STOPS = [name for name in (*failpoints.STATE, *failpoints.RUNS) if name.split("_", 1)[1] in ("append", "effect")]


@pytest.mark.parametrize("point", STOPS)
def test_an_owner_that_freezes_anywhere_is_fenced_when_it_comes_back(folder, server, point):
    for passes in (1, 2, 6):
        here = folder / f"{passes}"
        with server.client() as client:
            client.flushall()
        world.prepare(here)
        env = world.environment(here, server.url)
        first = start(here, {**env, "LAKERAY_FAILPOINTS": f"{point}=stop:{passes}"})
        with killed_at_the_end(first):
            eventually(partial(stopped, first.pid), WITHIN_S, every_s=0.01)
            done = finished(start(here, env))
            assert done.returncode == 0, done.stderr
            first.send_signal(signal.SIGCONT)
            back = finished(first)
        assert back.returncode == 1
        assert "taken over by another owner" in back.stderr
        world.check_whole(here, server.url)


def start(folder, env):
    return Started(["drive"], partial(world.drive, str(folder), "whole"), env, folder)


def test_the_same_name_after_a_rolling_restart_is_another_owner(folder, server, monkeypatch):
    """DBOS's executors that shared an id both took the work up; here the later lease fences the earlier one."""
    monkeypatch.setattr(world, "someone", lambda: "executor-1")
    with desk(folder, server.url, monkeypatch) as first:
        first.begin("r")
        first.at_step("r", "two")
        with desk(folder, server.url, monkeypatch) as second:
            first.let_go()
            assert second.ended("r").ended == "succeeded"
            eventually(lambda: first.orchestrator.parked("r"), WITHIN_S)
    check_steady(folder, server.url, "r", once=False)


def test_a_run_in_the_foreground_outwaits_the_lease_of_a_dead_owner(folder, server, monkeypatch):
    world.prepare(folder)
    env = world.environment(folder, server.url)
    killed = finished(start(folder, {**env, "TTL_S": "1.5", "LAKERAY_FAILPOINTS": "after_effect=kill"}))
    assert killed.returncode == -9
    monkeypatch.setattr(embedded, "WAIT_FOR_OWNER_S", 0.0)
    monkeypatch.setenv("SINK", env["SINK"])
    monkeypatch.setenv("LAKERAY_STATE", server.url)
    run = lakeray.connect(settings=Settings(executor="inline", state=server.url)).runs.resume("run-whole")
    assert run.result(WITHIN_S).state == "failed"
    world.check_whole(folder, server.url)


def test_commands_that_waited_for_an_owner_are_heard_in_order(folder, server, monkeypatch):
    """DBOS recovered the head of a queue out of order."""
    world.prepare(folder)
    with open_event_store(server.url) as store:
        words = [c.SendEvent(at=utc_now(), name="word", data=number) for number in range(20)]
        for number, command in enumerate([world.accept(folder, "steady", "r"), *words]):
            store.send(world.Command(command_id=f"{number}", run_id="r", data=c.encode_command(command)))
    with desk(folder, server.url, monkeypatch) as at:
        at.let_go()
        at.ended("r")
    heard = [event.data for event in world.histories(server.url)["r"] if isinstance(event, e.EventReceived)]
    assert heard == list(range(20))


def test_a_run_that_ended_meanwhile_is_not_begun_again(folder, server, monkeypatch):
    """DBOS went by a list of pending work that was older than the work's end."""
    with desk(folder, server.url, monkeypatch) as at:
        at.let_go()
        at.begin("r")
        at.ended("r")
        before = world.histories(server.url)
        stale, active = at.store.head("r"), type(at.store).active
        monkeypatch.setattr(type(at.store), "active", lambda self, shard: [stale, *active(self, shard)])
        at.begin("s")
        at.ended("s")
        assert world.histories(server.url)["r"] == before["r"]
    check_steady(folder, server.url, "r", "s")


def test_a_server_that_is_away_from_the_start_is_said_so(folder, server, monkeypatch):
    world.prepare(folder)
    server.kill()
    run = lakeray.connect(settings=Settings(executor="inline", state=server.url)).run(folder / "steady.yaml")
    with pytest.raises(StateUnavailable, match="cannot be reached"):
        run.result(WITHIN_S)
