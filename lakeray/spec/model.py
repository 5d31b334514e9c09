"""The workflow file as a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Self

from pydantic import Field, PrivateAttr, ValidationInfo, model_validator

from lakeray.spec.notify import Notify
from lakeray.spec.references import reference_complaints
from lakeray.spec.schedule import Schedule
from lakeray.spec.sources import Source
from lakeray.spec.steps import Step
from lakeray.spec.strict import Complaint, Loc, Spec
from lakeray.spec.tables import Table
from lakeray.spec.targets import Target
from lakeray.spec.texts import Name
from lakeray.spec.triggers import Trigger
from lakeray.spec.wrong import WrongValue

__all__ = ["Positions", "Schedule", "Source", "Step", "Table", "Target", "Trigger", "Workflow"]

FROM_FILE = "keys as in a file"
"""Set in the validation context when every key is spelt as in a file."""


@dataclass(frozen=True, kw_only=True)
class Positions:
    """Where in which file each key and each value stands: 1-based line and column by path.

    Equal to any other, as it is no part of what was said.
    """

    file: str | None = field(default=None, compare=False)
    at: dict[Loc, tuple[int, int]] = field(default_factory=dict, compare=False)
    values: dict[Loc, tuple[int, int]] = field(default_factory=dict, compare=False)


class Workflow(Spec):
    """What a workflow file says."""

    workflow: Name
    """The workflow's name. Runs, lineage and the report carry it."""
    tenant: Name = "default"
    """Whom it belongs to. Default: `default`."""
    schedule: Schedule | None = None
    """When runs begin by themselves. Default: never. `lakeray run` ignores it."""
    triggers: dict[Name, Trigger] = Field(default_factory=dict)
    """What else makes runs begin, by name: new objects, a table's new version, the end of another run, or that
    something did not happen in time. Default: nothing. `lakeray up` keeps to them; `lakeray run` ignores them."""
    sources: dict[Name, Source] = Field(default_factory=dict)
    """Datasets of objects, by name."""
    tables: dict[Name, Table] = Field(default_factory=dict)
    """Delta tables that lakeray writes, by name."""
    steps: dict[Name, Step] = Field(min_length=1)
    """What a run does, by name."""
    targets: dict[Name, Target] = Field(default_factory=dict)
    """Places outside the lake that data is delivered to, by name."""
    pools: dict[Name, Annotated[int, Field(ge=1, le=1_000_000)]] = Field(default_factory=dict)
    """Slots of each pool that steps of all of the tenant's runs share, by name. Default: none. Where files differ, the
    run that was accepted last says how many there are."""
    notify: dict[Name, Notify] = Field(default_factory=dict)
    """Who is told of what becomes of runs, by name. Default: nobody. `lakeray up` tells them."""

    _positions: Positions = PrivateAttr(default_factory=Positions)

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """Names that nothing has, steps in a circle, places that are used twice."""
        yield from reference_complaints(data)

    @model_validator(mode="after")
    def _made_in_python(self, info: ValidationInfo) -> Self:
        """Parts given by attribute names are held to the rules of names that ``complaints`` sees in a file."""
        if not (info.context or {}).get(FROM_FILE):
            for loc, wrong in reference_complaints(self.model_dump(by_alias=True, exclude_unset=True)):
                raise WrongValue(f"{'.'.join(map(str, loc))}: {wrong}")
        return self

    def where(self, *path: str | int) -> str | None:
        """``file:line:column`` of what stands at ``path``, or of the nearest thing around it.

        ``path`` is given key by key: ``"steps", "ingest", "import"``. None for a workflow that was not loaded from a
        file.
        """
        place = next((p for n in range(len(path), 0, -1) if (p := self._positions.at.get(path[:n]))), None)
        if place is None:
            return self._positions.file
        return f"{self._positions.file}:{place[0]}:{place[1]}"

    def value_at(self, *path: str | int) -> tuple[int, int] | None:
        """Line and column of the value at ``path``; None for a workflow that was not loaded from a file."""
        return self._positions.values.get(path)

    @property
    def file(self) -> str | None:
        """The file that it was loaded from."""
        return self._positions.file

    def ordered(self) -> list[str]:
        """Names of the steps, each behind all that it comes after, otherwise in the file's order."""
        done: dict[str, None] = {}
        waiting = dict(self.steps)
        while waiting:
            name = next(n for n, step in waiting.items() if all(before in done for before in step.after))
            done[name] = None
            del waiting[name]
        return list(done)
