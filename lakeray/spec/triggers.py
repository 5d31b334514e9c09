"""Triggers of a workflow file: what, beside its schedule, makes a run begin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field

from lakeray.spec.schedule import Overlap
from lakeray.spec.strict import Choice, Complaint, Spec, repeated
from lakeray.spec.texts import Name, TableUri, WebAddress
from lakeray.spec.units import Duration, PositiveDuration
from lakeray.spec.wrong import WrongValue

_EVERY_S = 60.0
_RECONCILE_S = 900.0
EndState = Literal["succeeded", "failed", "cancelled", "terminated"]


class Arrival(Spec):
    """New objects of a source."""

    shorthand: ClassVar[str | None] = "source"

    source: Name
    """The source."""
    every: PositiveDuration = _EVERY_S
    """Seconds between two looks at the source. Default: 60. With `queue` or `posted` it is `reconcile` that counts."""
    settle: Duration = 0.0
    """Seconds to wait for more once something is new, so that one run takes them all. Default: 0."""
    queue: WebAddress | None = None
    """The address of an SQS-compatible queue that the store's notifications go to. Default: none."""
    posted: bool = False
    """Whether notifications are posted to the control API. Default: false."""
    reconcile: PositiveDuration = _RECONCILE_S
    """Seconds between two looks at the source where notifications are pushed. Default: 15m. Notifications get lost, so
    that looking never ends."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """An interval that nothing uses."""
        pushed = data.get("queue") is not None or data.get("posted") is True
        if data.get("reconcile", _RECONCILE_S) != _RECONCILE_S and not pushed:
            yield ("reconcile",), WrongValue("only with queue or posted; without them `every` counts")
        if data.get("every", _EVERY_S) != _EVERY_S and pushed:
            yield ("every",), WrongValue("not together with queue or posted; `reconcile` counts")


class TableVersion(Spec):
    """A new version of a Delta table."""

    shorthand: ClassVar[str | None] = "table"

    table: Name | None = None
    """A table of this file. Either this or `uri`."""
    uri: TableUri | None = None
    """Where another Delta table lies. Either this or `table`."""
    every: PositiveDuration = 30.0
    """Seconds between two looks at the table. Default: 30."""
    changes: Literal["data", "any"] = "data"
    """`data` (default): versions that change rows. `any`: also upkeep, such as optimize."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """No table or two."""
        if (data.get("table") is None) == (data.get("uri") is None):
            found = "neither" if data.get("table") is None else "both"
            yield (), WrongValue("a table_version has exactly one of: table, uri", found=found)


class RunEnd(Spec):
    """The end of a run of another workflow of the same tenant."""

    shorthand: ClassVar[str | None] = "workflow"

    workflow: Name
    """The other workflow's name."""
    states: list[EndState] = Field(default=["succeeded"], min_length=1)
    """How it must have ended. Default: succeeded."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """A state named twice."""
        yield from repeated(data.get("states"), "states")


class Missing(Choice):
    """What should have happened in time did not."""

    choices: ClassVar[tuple[str, ...]] = ("arrival", "table_version", "run_end")
    noun: ClassVar[str] = "what is expected"

    arrival: Arrival | None = None
    """New objects of a source."""
    table_version: TableVersion | None = None
    """A new version of a Delta table."""
    run_end: RunEnd | None = None
    """The end of a run; it may be one of this workflow."""
    within: PositiveDuration
    """Seconds from the last time it happened, or else from when the trigger was switched on. The run begins once; the
    next one only after it happened again and then failed to."""


class Trigger(Choice):
    """Something that makes a run begin."""

    choices: ClassVar[tuple[str, ...]] = ("arrival", "table_version", "run_end", "expect")
    noun: ClassVar[str] = "a trigger"

    arrival: Arrival | None = None
    """New objects of a source."""
    table_version: TableVersion | None = None
    """A new version of a Delta table."""
    run_end: RunEnd | None = None
    """The end of a run of another workflow."""
    expect: Missing | None = None
    """What should have happened in time did not, as in `{run_end: nightly, within: 26h}`."""
    overlap: Overlap = "buffer_one"
    """What happens when it fires while a run that it started goes on, as for a schedule. Default: buffer_one, so that
    nothing that came meanwhile is forgotten."""
    paused: bool = False
    """Whether it is switched off until somebody resumes it. Default: false."""
