"""The Ray that tasks run on: one of our own on this machine, or the cluster that a setting names."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lakeray.config import Settings
from lakeray.errors import ConfigError

OBJECT_STORE_BYTES = 256 * 2**20
"""Enough for outcomes, plans, samples and listing pages: the rows of an import never travel through the object
store."""


_STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lakeray-ray")
"""Ray's processes die with the *thread* that started them (prctl PR_SET_PDEATHSIG), so one thread starts them and
stays."""


class Cluster:
    """One connection, made when something first needs it: a run that finds nothing new never waits for Ray."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._started = False

    def connect(self) -> None:
        """Connect unless this process is connected already.

        Raises ConfigError when the address cannot be reached. Never attaches to a cluster that no setting names.
        """
        self._started = _STARTER.submit(_connect, self._settings).result() or self._started

    @property
    def slots(self) -> int:
        """CPUs of the cluster."""
        self.connect()
        import ray

        return max(1, int(ray.cluster_resources().get("CPU", 1)))

    def stop(self) -> None:
        """End the local Ray, if this connection started it."""
        if self._started:
            import ray

            ray.shutdown()
            self._started = False


def _connect(settings: Settings) -> bool:
    """Whether this call started a local Ray."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_TQDM", "0")
    if settings.ray_address is None:
        # When this process is killed, its Ray's agents ask a GCS that is gone for a minute before they end themselves.
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "10")
    # Ray prints the death of a worker to stdout, whatever `log_to_driver` says; ledger and report say it better.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
    import ray

    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if settings.ray_address is not None:
        try:
            ray.init(address=settings.ray_address, **quiet)
        except (ConnectionError, TimeoutError, RuntimeError) as error:
            raise ConfigError(
                f"no Ray cluster answers at {settings.ray_address}: {error}",
                hint="check LAKERAY_RAY_ADDRESS, or unset it to run on this machine",
            ) from error
        return False
    ray.init(
        address="local",
        num_cpus=settings.cpus,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        **quiet,
    )
    return True
