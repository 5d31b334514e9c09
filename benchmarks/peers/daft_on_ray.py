"""Daft with Ray as its runner."""

from __future__ import annotations

from benchmarks.peers import ray_local
from benchmarks.peers.daft_frames import w1, w2, w3

__all__ = ["start", "stop", "w1", "w2", "w3"]

stop = ray_local.stop


def start() -> None:
    """Start Ray, choose the runner."""
    import daft

    ray_local.start()
    daft.set_runner_ray(noop_if_initialized=True)
