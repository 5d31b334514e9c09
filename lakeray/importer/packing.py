"""Objects spread over tasks so that all tasks take about as long."""

from __future__ import annotations

import heapq

from lakeray.importer.manifest import PlannedObject

TASK_BYTES = 256 * 2**20
OBJECT_COST_BYTES = 256 * 2**10
"""What opening an object costs beside its bytes, in bytes read in the same time."""


def pack(objects: list[PlannedObject], *, slots: int) -> list[list[PlannedObject]]:
    """Groups of at most about ``TASK_BYTES``, as many as a multiple of ``slots`` where there are objects enough.

    Longest processing time first (Graham 1969): at most 4/3 of the best possible length. Within a group objects stay
    in uri order.
    """
    if not objects:
        return []
    total = sum(_cost(planned) for planned in objects)
    waves = max(1, -(-total // (TASK_BYTES * slots)))
    count = min(len(objects), slots * waves)
    heap: list[tuple[int, int]] = [(0, index) for index in range(count)]
    groups: list[list[PlannedObject]] = [[] for _ in range(count)]
    for planned in sorted(objects, key=_cost, reverse=True):
        load, index = heapq.heappop(heap)
        groups[index].append(planned)
        heapq.heappush(heap, (load + _cost(planned), index))
    for group in groups:
        group.sort(key=lambda planned: planned.info.uri)
    return [group for group in groups if group]


def _cost(planned: PlannedObject) -> int:
    return planned.info.size + OBJECT_COST_BYTES
