"""Tasks whose work can be done again from the beginning, run to their end whatever happens to their workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lakeray.errors import StoreUnavailable
from lakeray.importer.context import ImportContext
from lakeray.importer.executor import Died, Task

_TRIES = 3


def run_wave(
    context: ImportContext, tasks: Sequence[Task], *, made: Callable[[Any], None] = lambda _: None
) -> list[Any]:
    """What each task said last, in the order of the tasks.

    ``made`` is told of each as it comes. A task whose worker died is started again, twice at most; what it had written
    lies under names that no commit will know. Raises StoreUnavailable when a task kills every worker, Cancelled, and
    whatever a task raises.
    """
    answers: list[Any] = [None] * len(tasks)
    left = list(range(len(tasks)))
    for _ in range(_TRIES):
        died: dict[int, Died] = {}
        for told in context.executor.run([tasks[index] for index in left]):
            context.check_cancelled()
            if isinstance(told.message, Died):
                died[left[told.index]] = told.message
            else:
                answers[left[told.index]] = told.message
                made(told.message)
        if not died:
            return answers
        left = list(died)
    reason = next(iter(died.values())).reason
    raise StoreUnavailable(
        f"a task of step {context.step_name} died {_TRIES} times: {reason}",
        hint="lower LAKERAY_TASK_MEMORY so that tasks take less, or give the workers more memory",
    )
