"""A large prefix listed in parallel on Ray gives the same pages, in the same order, as one listing does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lakeray.objects import open_store

pytestmark = [pytest.mark.s3, pytest.mark.ray]

SCRIPT = """
import sys
from lakeray.config import Settings
from lakeray.importer.executor import Breath
from lakeray.runtime import listing
from lakeray.runtime.cluster import Cluster
from lakeray.runtime.ray_tasks import RayTasks

listing.SERIAL_ROWS = 1  # split behind the first page, as a listing of millions is
listing.PAGES_AHEAD = 1
cluster = Cluster(Settings(cpus=2))
for number, page in enumerate(listing.parallel_pages(sys.argv[1], cluster=cluster)):
    print(*page["uri"].to_pylist(), sep="\\n")
    if number == 1:  # a batch is imported while the listing waits
        list(RayTasks("batch", cluster).run([Breath(), Breath()]))
cluster.stop()
"""


def test_same_pages_as_one_listing(s3_server, cloud_environment):
    cloud_environment(s3_server.env)
    prefix = s3_server.new_bucket() + "/raw/"
    store = open_store(prefix)
    for number in range(1_050):
        store.put(f"{prefix}day={number % 13:02d}/part-{number:05d}.json", b"{}")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, prefix],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    alone = [uri for page in store.list(prefix) for uri in page["uri"].to_pylist()]
    assert done.stdout.splitlines() == alone
    assert len(alone) == 1_050
