"""Work in a fork of the test's process: a process of its own in a few milliseconds, that may be killed at any point.

Nothing that has threads may be open here when it forks: a store is opened inside.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable


def fork(work: Callable[[], object]) -> int:
    """Start ``work``; the id of its process. It ends with 0, or with 1 and a traceback on standard error."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except BaseException:  # noqa: BLE001 - the fork ends here
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def exit_code(child: int) -> int:
    """Wait for its end; negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
