"""Work in the background of a process: begun at once, looked at, waited for, stopped."""

from __future__ import annotations

import threading
from typing import Generic, Protocol, TypeVar

from lakeray.config import Settings
from lakeray.runtime.cluster import Cluster

S_co = TypeVar("S_co", covariant=True)
S = TypeVar("S")


class Work(Protocol[S_co]):
    """What can go on in the background. ``execute`` returns when it is over, or soon after ``cancel``."""

    @property
    def settings(self) -> Settings: ...  # noqa: D102 - a field
    @property
    def cluster(self) -> Cluster: ...  # noqa: D102 - a field
    @property
    def run_id(self) -> str: ...  # noqa: D102 - a field

    def execute(self) -> S_co:
        """Do it."""
        ...

    def cancel(self) -> None:
        """Ask it to stop; from any thread."""
        ...

    def summary(self) -> S_co:
        """How far it is; from any thread."""
        ...


class Background(Generic[S]):
    """Work that goes on in a thread of its own from now on."""

    def __init__(self, work: Work[S]) -> None:
        self._work = work
        self._summary: S | None = None
        self._error: BaseException | None = None
        self._ended = threading.Event()  # not the thread: an interrupt during join makes a live thread look dead
        self._thread = threading.Thread(target=self._execute, name=work.run_id, daemon=True)
        self._thread.start()

    @property
    def run_id(self) -> str:
        """Its name in logs, results and ledger."""
        return self._work.run_id

    @property
    def summary(self) -> S:
        """How far it is."""
        return self._summary or self._work.summary()

    @property
    def done(self) -> bool:
        """Whether it is over, or waits for a person alone."""
        return self._ended.is_set()

    def result(self, timeout: float | None = None) -> S:
        """Wait until it is over or waits for a person alone, at most ``timeout`` seconds. Raises TimeoutError;
        ConfigError when Ray could not be started; LeaseHeld when another process owns the state.
        """
        if not self._ended.wait(timeout):
            raise TimeoutError(f"the run {self.run_id} is still at work after {timeout} s")
        if self._error is not None:
            raise self._error
        return self.summary

    def cancel(self) -> None:
        """Ask it to stop; what is committed stays, the next run goes on behind it."""
        self._work.cancel()

    def _execute(self) -> None:
        try:
            if self._work.settings.ray_address is not None:
                self._work.cluster.connect()  # a wrong address is said before anything starts
            self._summary = self._work.execute()
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            self._error = error
        finally:
            self._ended.set()
