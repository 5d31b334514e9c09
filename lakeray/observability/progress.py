"""The port through which long work says how far it is."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Told what happens; never raises, never blocks for long. Sizes are in bytes."""

    def import_started(self, *, step: str, source_uri: str, table_uri: str) -> None:
        """An import step begins."""
        ...

    def listing(self, *, step: str, listed: int, new: int) -> None:
        """Discovery has looked at ``listed`` objects so far and found ``new`` to import."""
        ...

    def batch_started(self, *, step: str, batch: int, objects: int, size_bytes: int) -> None:
        """A batch of so many objects is being read."""
        ...

    def advanced(self, *, step: str, batch: int, objects: int, rows: int, size_bytes: int) -> None:
        """So much more of the batch is staged."""
        ...

    def batch_ended(self, *, step: str, batch: int, rows_written: int, table_version: int, won: bool) -> None:
        """The batch is visible and recorded."""
        ...

    def import_ended(self, *, step: str, source: str, rows_written: int, duration_s: float, errors: int) -> None:
        """An import step is over."""
        ...

    def note(self, *, step: str, message: str) -> None:
        """Something a person should know, in one sentence."""
        ...


class Silent:
    """An observer that listens to nothing."""

    def import_started(self, *, step: str, source_uri: str, table_uri: str) -> None:
        """Nothing."""

    def listing(self, *, step: str, listed: int, new: int) -> None:
        """Nothing."""

    def batch_started(self, *, step: str, batch: int, objects: int, size_bytes: int) -> None:
        """Nothing."""

    def advanced(self, *, step: str, batch: int, objects: int, rows: int, size_bytes: int) -> None:
        """Nothing."""

    def batch_ended(self, *, step: str, batch: int, rows_written: int, table_version: int, won: bool) -> None:
        """Nothing."""

    def import_ended(self, *, step: str, source: str, rows_written: int, duration_s: float, errors: int) -> None:
        """Nothing."""

    def note(self, *, step: str, message: str) -> None:
        """Nothing."""
