"""Killing a whole `lakeray run` with its Ray processes leaves no process behind, loses nothing, repeats nothing.

Crash points: the driver alone at after_result, its process group at commit_reply, every worker behind its files
(task_staged), every worker before its second object (task_started).
"""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path

import pytest

from lakeray.importer.recording.ledger import latest
from tests.polling import eventually
from tests.sample_lake import SampleLake, data_files, finished, killed_at_the_end, live, read

pytestmark = pytest.mark.ray

MARK = "TEST_OF_LAKERAY"
WITHIN_S = 90
GONE_WITHIN_S = 120
"""Ray's agents of a driver that was killed alone look for their GCS for ten seconds to a minute before they end."""


@pytest.fixture
def lake(tmp_path):
    lake = SampleLake(root=str(tmp_path / "lake"), folder=tmp_path, batch_objects=4)
    for number in range(6):
        lake.add(f"{number:02d}.json")
    return lake


@pytest.fixture
def env():
    """Variables of one run with its own Ray, by which its processes are known."""
    return {MARK: uuid.uuid4().hex, "LAKERAY_EXECUTOR": "auto", "LAKERAY_CPUS": "2"}


def processes_of(env):
    """Command lines of the living processes that inherited the mark, by their ids."""
    wanted = f"{MARK}={env[MARK]}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ")[:80]
        except OSError:  # gone, or another's
            continue
    return found


def none_is_left(env):
    eventually(lambda: not processes_of(env), GONE_WITHIN_S)


def test_the_driver_dies_alone(lake, env):
    killed = lake.run(**env, LAKERAY_FAILPOINTS="after_result=kill:2")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    none_is_left(env)
    lake.import_well()
    lake.check()


def test_the_process_group_dies(lake, env):
    process = lake.start(**env, LAKERAY_FAILPOINTS="commit_reply=stop")
    with killed_at_the_end(process):
        stat = Path(f"/proc/{process.pid}/stat")
        eventually(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "T", WITHIN_S)
        assert len(processes_of(env)) > 3, "Ray runs"
        os.killpg(process.pid, signal.SIGKILL)
        assert finished(process).returncode == -9
    none_is_left(env)
    lake.import_well()
    lake.check()


@pytest.mark.parametrize(("point", "code"), [("task_staged=kill", 1), ("task_started=kill:2", 0)])
def test_workers_die(lake, env, point, code):
    """Each worker process dies at the point; the run says which objects failed (it fails when all do); the next loads
    them.
    """
    done = lake.run(**env, LAKERAY_FAILPOINTS=point)
    assert done.returncode == code, done.stdout + done.stderr
    assert "worker died" in done.stdout
    none_is_left(env)
    rows = latest(read(lake.ledger_uri())).to_pylist()
    assert {row["uri"] for row in rows} == set(lake.uris)
    dead = [row for row in rows if row["outcome"] == "failed"]
    assert all(row["error_code"] == "worker_died" for row in dead)
    assert lake.table_ids() == lake.ids - sum((lake.ids_of[row["uri"]] for row in dead), start=type(lake.ids)())
    lake.import_well()
    lake.check()
    lake.connect().table(lake.table_uri).vacuum(0, dry_run=False)
    assert data_files(lake.table_uri) == live(lake.table_uri)
