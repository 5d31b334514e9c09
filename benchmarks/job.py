"""One measurement in a process of its own: warm up, work, check the answer, only then say how long it took.

Started by ``benchmarks.measure`` with one JSON argument; the last line of its output is one JSON object.
"""

from __future__ import annotations

import gc
import importlib
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.answers import problem
from benchmarks.data import folder_bytes

MARK = "benchmark-result "
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_PATHS = re.compile(r"(/[\w.+-]+){2,}/?")


def main() -> int:
    """Run the measurement that the first argument describes; prints its result, whatever it is."""
    spec = json.loads(sys.argv[1])
    try:
        result = measure(**spec)
    except BaseException as error:  # noqa: BLE001 - how an engine fails is a result too
        result = {"outcome": "fails", "detail": _first_line(error)}
    print("\n" + MARK + json.dumps(result), flush=True)
    return 0


def measure(
    *, module: str, workload: str, source: str, warm_source: str, out: str, expected: dict[str, Any]
) -> dict[str, Any]:
    """Seconds of the work alone, and the bytes that it left."""
    peer = importlib.import_module(f"benchmarks.peers.{module}")
    function = getattr(peer, workload.split("-", maxsplit=1)[0])
    warm_out, full_out = Path(out) / "warm", Path(out) / "full"
    warm_out.mkdir(parents=True)
    full_out.mkdir(parents=True)
    getattr(peer, "start", _nothing)()
    try:
        function(Path(warm_source), warm_out)()
        work = function(Path(source), full_out)
        gc.collect()
        begin = time.perf_counter()
        written = work()
        seconds = time.perf_counter() - begin
        wrong = problem(written, workload, expected)
    finally:
        getattr(peer, "stop", _nothing)()
    if wrong is not None:
        return {"outcome": "wrong", "detail": wrong}
    return {"outcome": "right", "seconds": seconds, "output_bytes": folder_bytes(written.table)}


def _nothing() -> None:
    """For engines that need no start or stop."""


def _first_line(error: BaseException) -> str:
    """What went wrong, in one line that shows no path of this machine."""
    cause = getattr(error, "cause", None)
    told = cause if isinstance(cause, Exception) else error
    text = " ".join(_ESCAPES.sub("", str(told)).split())
    return f"{type(told).__name__}: {_PATHS.sub('...', text)}"[:160]


if __name__ == "__main__":
    raise SystemExit(main())
