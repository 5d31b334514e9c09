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
from benchmarks.peers import ALONE

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
    name = workload.replace("-", "_") if workload in ALONE else workload.split("-", maxsplit=1)[0]
    function = getattr(peer, name)
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
    return without_paths(f"{type(told).__name__}: {told}")


def without_paths(text: str) -> str:
    """``text`` as one line of at most 160 characters, without colours and without paths of this machine."""
    return _PATHS.sub("...", " ".join(_ESCAPES.sub("", text).split()))[:160]


def last_words(log: Path) -> str:
    """The last line of what a process wrote before it died, ready to be shown."""
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return without_paths(next((line for line in reversed(lines) if line.strip()), "no error was written"))


if __name__ == "__main__":
    raise SystemExit(main())
