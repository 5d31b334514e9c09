"""Whatever happens to the disk under a state file, its runs go on once that is over; a file has one owner.

Crash points: the disk is full or read-only while a step is at work, or from the start; another program holds the file;
events disappear from it; its owner freezes. Nothing is completed twice and no effect is asked for twice.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sqlite3
import subprocess
from functools import partial

import pytest

import lakeray
from lakeray.config import Settings
from lakeray.errors import StateUnavailable
from lakeray.runtime.durable.embedded import open_state
from lakeray.state.sqlite import schema
from lakeray.workflow import events as e
from tests.commands import Started
from tests.forks import exit_code, fork
from tests.polling import eventually
from tests.sample_lake import finished, killed_at_the_end
from tests.unit.runtime import durable_world as world
from tests.unit.runtime.desk import WITHIN_S, check_steady, desk, stopped

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs"


def small_disk(place):
    """A file system of 1 MiB at ``place`` that this process alone sees."""
    flags = _CLONE_NEWNS if os.getuid() == 0 else _CLONE_NEWNS | _CLONE_NEWUSER
    assert ctypes.CDLL(None, use_errno=True).unshare(flags) == 0, os.strerror(ctypes.get_errno())
    place.mkdir()
    for arguments in (["--make-rprivate", "/"], ["-t", "tmpfs", "-o", "size=1m", "none", str(place)]):
        subprocess.run(["mount", *arguments], check=True)


def fill(place):
    with (place / "filler").open("wb", buffering=0) as filler:
        while True:
            try:
                filler.write(bytes(4096))
            except OSError:
                return


def in_a_fork(work):
    """With patches of its own, for whatever needs a file system of its own."""

    def patched():
        with pytest.MonkeyPatch.context() as patch:
            work(patch)

    assert exit_code(fork(patched)) == 0


def test_a_run_waits_for_a_full_disk(folder, tmp_path):
    def work(patch):
        disk = tmp_path / "disk"
        small_disk(disk)
        uri = f"sqlite:///{disk}/state.db"
        with desk(folder, uri, patch) as at:
            at.begin("r")
            at.at_step("r", "two")
            fill(disk)
            at.let_go()
            at.tried_again("r")
            (disk / "filler").unlink()
            assert at.ended("r").ended == "succeeded"
        check_steady(folder, uri, "r")

    in_a_fork(work)


def test_a_disk_that_is_full_or_read_only_from_the_start_is_said_so(folder, tmp_path):
    def work(patch):
        disk = tmp_path / "disk"
        small_disk(disk)
        uri = f"sqlite:///{disk}/state.db"
        world.prepare(folder)
        patch.setenv("SINK", str(folder / "sink"))
        lake = lakeray.connect(settings=Settings(executor="inline", state=uri))
        (folder / "let-go").touch()
        fill(disk)
        with pytest.raises(StateUnavailable) as full:
            lake.run(folder / "steady.yaml").result(WITHIN_S)
        assert full.value.hint
        (disk / "filler").unlink()
        done = lake.run(folder / "steady.yaml").result(WITHIN_S)
        assert done.state == "succeeded"
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(StateUnavailable) as read_only:
            lake.run(folder / "steady.yaml").result(WITHIN_S)
        assert "writable" in str(read_only.value.hint)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        assert [line.run_id for line in lake.runs.list()] == [done.run_id]

    in_a_fork(work)


def test_a_run_waits_for_another_programs_transaction(folder, monkeypatch):
    monkeypatch.setattr(schema, "BUSY_S", 0.05)
    uri = f"sqlite:///{folder}/state.db"
    with desk(folder, uri, monkeypatch) as at:
        at.begin("r")
        at.at_step("r", "two")
        with sqlite3.connect(folder / "state.db", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            at.let_go()
            at.tried_again("r")
            other.execute("COMMIT")
        assert at.ended("r").ended == "succeeded"
    check_steady(folder, uri, "r")


def test_a_run_whose_events_disappear_is_parked_and_others_go_on(folder, monkeypatch):
    uri = f"sqlite:///{folder}/state.db"
    with desk(folder, uri, monkeypatch) as at:
        for run_id in ("kept", "lost"):
            at.begin(run_id)
            at.at_step(run_id, "two")
        with sqlite3.connect(folder / "state.db") as other:
            first = "(SELECT min(position) FROM events WHERE run_id = 'lost' AND sequence > 4)"
            other.execute(f"UPDATE shards SET position = {first} - 1")
            other.execute("DELETE FROM events WHERE run_id = 'lost' AND sequence > 4")
            other.execute("UPDATE runs SET sequence = 4 WHERE run_id = 'lost'")
        at.let_go()
        eventually(lambda: at.orchestrator.parked("lost"), WITHIN_S)
        assert at.ended("kept").ended == "succeeded"
        history = world.histories(uri)["lost"]
        assert isinstance(history[4], e.RunPaused)
        lakeray.connect(settings=Settings(executor="inline", state=uri)).runs.resume("lost")
        assert at.ended("lost").ended == "succeeded"
    check_steady(folder, uri, "kept", "lost", once=False)


def test_leaving_does_not_wait_for_a_store_that_is_away(folder, monkeypatch):
    monkeypatch.setattr(schema, "BUSY_S", 0.05)
    uri = f"sqlite:///{folder}/state.db"
    with desk(folder, uri, monkeypatch) as at:
        at.begin("r")
        at.at_step("r", "two")
        with sqlite3.connect(folder / "state.db", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            at.let_go()
            at.tried_again("r")
            at.orchestrator.leave("r").result(WITHIN_S)
            other.execute("COMMIT")
    with desk(folder, uri, monkeypatch) as at:
        assert at.ended("r").ended == "succeeded"
    check_steady(folder, uri, "r", once=False)


def test_an_owner_that_freezes_keeps_its_file(folder):
    """Nobody else can own the file of a living process, which goes on where it was."""
    world.prepare(folder)
    env = world.environment(folder, f"sqlite:///{folder}/state.db")
    first = Started(
        ["drive"],
        partial(world.drive, str(folder), "whole"),
        {**env, "LAKERAY_FAILPOINTS": "before_append=stop:5"},
        folder,
    )
    with killed_at_the_end(first):
        eventually(lambda: stopped(first.pid), WITHIN_S)
        with open_state(env["LAKERAY_STATE"]) as store, pytest.raises(Exception, match=f"process {first.pid} on"):
            store.lease(0, "another", 1.0)
        first.send_signal(signal.SIGCONT)
        done = finished(first)
    assert done.returncode == 0, done.stderr
    world.check_whole(folder, env["LAKERAY_STATE"])
