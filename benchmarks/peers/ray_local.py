"""One Ray on this machine, of this process alone, for the engines that run on it."""

from __future__ import annotations

import logging
import os


def start() -> None:
    """Start it with all cores. Its own, never one that happens to run here."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def stop() -> None:
    """End it."""
    import ray

    ray.shutdown()
