"""Functions of the user for steps on Ray; effects go into the folder `sink`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

HERE = "tests.integration.steps_on_ray"


def where() -> dict[str, Any]:
    """The process that does the step, and what Ray calls it meanwhile."""
    title = Path("/proc/self/cmdline").read_bytes().split(b"\0")[0].decode()
    return {"pid": os.getpid(), "title": title}


def granted() -> dict[str, Any]:
    """What Ray has reserved for the step."""
    import ray

    return {**where(), "resources": ray.get_runtime_context().get_assigned_resources()}


def die_once(sink: str, context: Any) -> int:
    """Takes its process with it in its first attempt."""
    marker = Path(sink) / context.idempotency_key.replace("/", "~")
    if not marker.exists():
        marker.touch()
        os._exit(7)
    return context.attempt


def beat(context: Any) -> Any:
    """Says how far it is, fails; the next attempt returns what the first one said."""
    if context.attempt == 1:
        context.heartbeat({"row": 41})
        raise OSError("the line is cut")
    return context.details


def linger(sink: str, context: Any) -> str:
    """Goes on until somebody puts a file into its folder, or asks it to stop."""
    while not (Path(sink) / "go").exists():
        if context.cancelled.wait(0.05):
            return "stopped"
    return "went"


def deaf(sink: str) -> None:
    """Hears nobody."""
    Path(sink, "deaf").write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)


def yes() -> bool:
    return True
