"""Tasks that can be done again from their beginning, answered one by one as they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lakeray.errors import StoreUnavailable
from lakeray.importer.executor import Died, Executor, Task

_TRIES = 3


def answers(
    executor: Executor, tasks: Sequence[Task], *, doing: str, check: Callable[[], None] = lambda: None
) -> Iterator[tuple[int, Any]]:
    """``(place, answer)`` for each task, in any order; one whose worker died is started again, twice at most.

    ``check`` may raise between two answers. Raises StoreUnavailable when a task kills every worker, and whatever a task
    raises.
    """
    left = list(range(len(tasks)))
    died: dict[int, Died] = {}
    for _ in range(_TRIES):
        died = {}
        for told in executor.run([tasks[place] for place in left]) if left else ():
            check()
            if isinstance(told.message, Died):
                died[left[told.index]] = told.message
            else:
                yield left[told.index], told.message
        left = list(died)
        if not left:
            return
    reason = next(iter(died.values())).reason
    raise StoreUnavailable(
        f"{doing}: a task died {_TRIES} times: {reason}",
        hint="lower LAKERAY_TASK_MEMORY so that tasks take less, or give the workers more memory",
    )
