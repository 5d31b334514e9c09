"""Batches keep to their limits, tasks are even, nothing is planned twice or left out."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeray.errors import ImportFailed
from lakeray.importer.discovery.difference import Window
from lakeray.importer.discovery.planner import CHANGED, Planner
from lakeray.importer.manifest import PlannedObject
from lakeray.importer.packing import OBJECT_COST_BYTES, TASK_BYTES, pack
from lakeray.objects import LISTING, ObjectInfo
from lakeray.spec.sources import Source
from lakeray.spec.steps import Batch

AT = datetime(2024, 1, 1, tzinfo=UTC)


def window(sizes, *, tries=0, changed=False, start=0):
    rows = [
        {
            "uri": f"/raw/{start + n:06d}",
            "size": size,
            "etag": "e",
            "version_id": None,
            "modified_at": AT,
            "tries": tries,
            "changed": changed,
        }
        for n, size in enumerate(sizes)
    ]
    schema = pa.schema([*LISTING, pa.field("tries", pa.int32()), pa.field("changed", pa.bool_())])
    return Window(
        fresh=pa.Table.from_pylist(rows, schema=schema),
        listed=len(rows),
        known=0,
        changed=len(rows) * changed,
        deleted=0,
    )


def planner(max_objects=3, max_bytes=100, *, retry_failed=True, **source):
    limits = Batch(max_objects=max_objects, max_bytes=max_bytes)
    return Planner(source=Source(uri="/raw/", format="json", **source), limits=limits, retry_failed=retry_failed)


def batches(plan, *windows):
    found = [objects for one in windows for objects in plan.feed(one)]
    return [[item.info.size for item in objects] for objects in [*found, *plan.finish()]]


def test_bounded_by_objects():
    assert batches(planner(), window([1] * 7)) == [[1, 1, 1], [1, 1, 1], [1]]


def test_bounded_by_bytes():
    assert batches(planner(max_objects=9), window([60, 40, 1, 99, 2])) == [[60, 40], [1, 99], [2]]


def test_one_object_above_the_limit_stands_alone():
    assert batches(planner(), window([1, 500, 1])) == [[1], [500], [1]]
    assert batches(planner(), window([500])) == [[500]]


def test_batches_go_on_over_windows():
    assert batches(planner(), window([1, 1]), window([2, 2], start=2)) == [[1, 1, 2], [2]]


def test_nothing_fresh_is_no_batch():
    assert batches(planner(), window([])) == []


@given(
    sizes=st.lists(st.integers(0, 150), max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=3),
    max_objects=st.integers(1, 10),
)
def test_every_object_once_and_no_limit_broken(sizes, cuts, max_objects):
    plan = planner(max_objects=max_objects, max_bytes=100)
    edges = sorted({0, len(sizes), *(min(cut, len(sizes)) for cut in cuts)})
    parts = [window(sizes[a:b], start=a) for a, b in pairwise(edges)]
    found = batches(plan, *parts)
    assert [size for objects in found for size in objects] == sizes
    assert all(len(objects) <= max_objects and (sum(objects) <= 100 or len(objects) == 1) for objects in found)
    assert all(len(a) == max_objects or sum(a) + b[0] > 100 for a, b in pairwise(found)), "no batch is cut too early"


def test_failed_objects_can_be_left_alone():
    assert batches(planner(retry_failed=False), window([1], tries=1), window([2], start=5)) == [[2]]
    plan = planner()
    (found,) = [*plan.feed(window([1], tries=2)), next(plan.finish(), [])]
    assert found[0].tries == 2


@pytest.mark.parametrize(("policy", "skip"), [("ignore", CHANGED), ("append", None)])
def test_changed_objects(policy, skip):
    plan = planner(changed_objects=policy)
    list(plan.feed(window([7], changed=True)))
    (planned,) = next(plan.finish(), [])
    assert planned.skip == skip
    assert plan.changed == 1


def test_a_changed_object_can_stop_the_import():
    with pytest.raises(ImportFailed, match="/raw/000000 was changed"):
        list(planner(changed_objects="fail").feed(window([7], changed=True)))


def test_skipped_objects_take_no_bytes_of_a_batch():
    plan = planner(max_objects=9, changed_objects="ignore")
    assert batches(plan, window([90, 90, 90], changed=True), window([90, 9], start=3)) == [[90, 90, 90, 90, 9]]


def objects(sizes):
    return [
        PlannedObject(info=ObjectInfo(uri=f"/raw/{n:05d}", size=size, etag="e", version_id=None, modified_at=AT))
        for n, size in enumerate(sizes)
    ]


@given(sizes=st.lists(st.integers(0, 2**30), max_size=60), slots=st.integers(1, 8))
def test_packing_loses_nothing_and_stays_even(sizes, slots):
    planned = objects(sizes)
    groups = pack(planned, slots=slots)
    assert sorted((item for group in groups for item in group), key=lambda item: item.info.uri) == planned
    assert all(group == sorted(group, key=lambda item: item.info.uri) for group in groups)
    assert all(groups)
    if not groups:
        return
    loads = [sum(item.info.size + OBJECT_COST_BYTES for item in group) for group in groups]
    costs = sorted((size + OBJECT_COST_BYTES for size in sizes), reverse=True)
    best = max(sum(costs) / len(groups), costs[0])
    assert max(loads) <= best * 4 / 3 + costs[0] / 3 + 1, "Graham's bound"
    assert len(groups) == len(planned) or len(groups) % slots == 0
    assert sum(costs) / len(groups) <= TASK_BYTES or len(groups) == len(planned)
