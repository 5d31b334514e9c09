"""Steps of a workflow file: what a run does, in which order, how it takes failure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from lakeray.spec.checks import Check
from lakeray.spec.cleansing import Rules, Selector, everywhere_complaints
from lakeray.spec.gates import Condition, PythonCall, approvals_in
from lakeray.spec.mapping import Mapped
from lakeray.spec.masks import Mask, hidden_keys
from lakeray.spec.merge import History, Operation, merge_complaints
from lakeray.spec.outputs import Output, without_outputs
from lakeray.spec.policies import Breaker, Queue, Retry, Timeouts
from lakeray.spec.sets import Deduplicate, SetExpect
from lakeray.spec.strict import Choice, Complaint, Spec, repeated
from lakeray.spec.texts import Hook, Name, Sql, Text
from lakeray.spec.units import Duration, PositiveDuration, PositiveSize
from lakeray.spec.unnest import Unnest, unnest_complaints
from lakeray.spec.wrong import WrongValue, quoted

Mode = Literal["append", "overwrite", "merge", "scd2"]


class Batch(Spec):
    """How much one batch, the unit of exactly-once, may hold."""

    max_objects: int = Field(default=10_000, ge=1, le=10_000_000)
    """Objects of one batch. Default: 10000."""
    max_bytes: PositiveSize = 8 * 2**30
    """Bytes of one batch as they lie in the store. Default: 8GiB. One object above it makes a batch of its own."""


class Import(Spec):
    """New objects of a source become rows of a table, each exactly once."""

    from_: Name = Field(alias="from")
    """The source."""
    into: Name
    """The table."""
    mode: Mode = "append"
    """`append` (default): rows are added. `overwrite`: one commit over everything the source holds. `merge`: rows with
    the same key are replaced. `scd2`: replaced rows are kept as history."""
    key: list[Text] = Field(default_factory=list)
    """Columns that identify a row, for the modes merge and scd2. Default: none. Rows without one are quarantined."""
    sequence: Text | None = None
    """Column that says which of two changes of a row is later: a number, a text, a date or a time; it stays in the
    table. Default: none, the later batch, object and line wins. With it an older change that arrives late loses, and so
    does one that a delete has overtaken."""
    delete_when: Sql | None = None
    """An SQL condition over a change, as `select` leaves it: where it is true, the row is deleted. Default: nothing is.
    Expectations are not asked about deletes."""
    operation: Operation | None = None
    """The column of a change feed that says what each change is. Default: none, each row is the new state."""
    partial: bool = False
    """Whether null in an update (or a column that it lacks) means that the row keeps its value. Default: false. An
    update that arrives late, by `sequence`, loses as a whole."""
    leave_out: list[Text] = Field(default_factory=list)
    """Columns of changes that do not become columns of the table, such as those that `delete_when` reads. Default:
    none."""
    remember_deletes: Duration = 30 * 86_400.0
    """Seconds for which a delete is remembered, so that older changes of its row that arrive later still lose. Default:
    30d. Only with a `sequence`."""
    history: History | None = None
    """Names of the columns of mode scd2. Default: valid_from, valid_to, is_current."""
    replace_where: Sql | None = None
    """For mode overwrite: an SQL condition over a row of the table, as in `day = DATE '2024-05-01'`. Only rows that
    meet it are replaced; new rows that do not meet it are quarantined. Default: all rows are replaced. Conditions over
    partition columns alone need no look into files."""
    partitions: Literal["all", "dynamic"] = "all"
    """For mode overwrite. `dynamic`: only those partitions are replaced in which the source has rows now. Default
    `all`: the whole table is."""
    on_restore: Literal["reimport", "keep", "ask"] = "ask"
    """What happens after the table was restored to a version before some batches. `reimport`: they are imported again.
    `keep`: they stay away. `ask` (default): the import stops and says how to choose."""
    batch: Batch = Batch()
    """How much one batch may hold."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """Options that the mode does not use, or that it lacks."""
        yield from merge_complaints(data)
        for option, default in (("replace_where", None), ("partitions", "all")):
            mode = data.get("mode", "append")
            if data.get(option, default) != default and mode != "overwrite":
                yield (
                    (option,),
                    WrongValue("only the mode overwrite replaces a part of the table", found=f"mode {mode}"),
                )
        if data.get("replace_where") is not None and data.get("partitions") == "dynamic":
            yield ("partitions",), WrongValue("only one of: replace_where, partitions", found="both")


class Expect(Spec):
    """A condition that every row must meet."""

    sql: Sql
    """The condition of one row. A row for which it is null counts as a violation."""
    on_violation: Literal["warn", "drop", "quarantine", "fail"]
    """`warn`: the row is written and counted. `drop`: it is left out and counted. `quarantine`: it goes into the
    quarantine table with its reason. `fail`: the import stops, nothing is committed."""


class Deliver(Spec):
    """Rows of a table go out to targets."""

    from_: Name = Field(alias="from")
    """The table."""
    to: list[Name] = Field(min_length=1)
    """The targets."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """A target named twice."""
        yield from repeated(data.get("to"), "to")


class Maintain(Spec):
    """Upkeep of a table."""

    table: Name
    """The table."""
    optimize: bool = True
    """Whether small files are brought together. Default: true."""
    z_order: list[Text] = Field(default_factory=list)
    """Columns that rows are sorted by while at it. Default: none."""
    vacuum: Duration | None = None
    """Seconds since a file was removed from the table after which it is deleted. Default: nothing is deleted."""
    checkpoint: bool = False
    """Whether a checkpoint of the log is written. Default: false; writers write one every hundred commits."""
    clean_log: bool = False
    """Whether entries of the log that are older than the table keeps them (`delta.logRetentionDuration`, 30 days) and
    that no import needs are deleted. Default: false; imports do so now and then."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """Nothing to do, or an order for files that are left as they are."""
        optimize = data.get("optimize") is not False
        if not optimize and data.get("z_order"):
            yield (
                ("z_order",),
                WrongValue("expected none, as only an optimize puts rows in order", found="optimize: false"),
            )
        if not (optimize or data.get("vacuum") is not None or data.get("checkpoint") or data.get("clean_log")):
            yield (
                (),
                WrongValue("expected at least one of: optimize, vacuum, checkpoint, clean_log", found="nothing to do"),
            )


class SubWorkflow(Spec):
    """Another workflow file, run as one step."""

    shorthand: ClassVar[str | None] = "file"

    file: Text
    """Its path, relative to this file."""


class Map(Spec):
    """The same work over many values, side by side."""

    over: list[str | int | float] | Text
    """The values, or an expression over `steps.<name>` that gives them."""
    python: PythonCall | None = None
    """A function of the user that takes one value."""
    workflow: SubWorkflow | None = None
    """A workflow file that takes one value."""
    concurrency: int = Field(default=4, ge=1, le=10_000)
    """How many chunks go on at once. Default: 4."""
    chunk: int | None = Field(default=None, ge=1, le=100_000)
    """Values that are worked on, tried again and recorded together. Default: as many as make at most 1000 chunks; a
    workflow takes one."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """None or both kinds of work."""
        if (data.get("python") is None) == (data.get("workflow") is None):
            found = "neither" if data.get("python") is None else "both"
            yield (), WrongValue("a map has exactly one of: python, workflow", found=found)
        elif data.get("workflow") is not None and data.get("chunk") not in (None, 1):
            yield ("chunk",), WrongValue("a workflow takes one value at a time", found=str(data.get("chunk")))


class Wait(Choice):
    """Time goes by, or something happens."""

    choices: ClassVar[tuple[str, ...]] = ("for", "until", "event")
    noun: ClassVar[str] = "a wait"
    shorthand: ClassVar[str | None] = "for"

    for_: PositiveDuration | None = Field(default=None, alias="for")
    """Seconds to wait."""
    until: Text | None = None
    """An instant in ISO 8601, such as `2024-01-01T06:00:00Z`."""
    event: Name | None = None
    """The name of an event that somebody sends to the run."""
    timeout: PositiveDuration | None = None
    """Seconds after which an event that did not come is a failure. Default: no limit."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """An instant that cannot be read; a timeout of time itself."""
        yield from super().complaints(data)
        until = data.get("until")
        if isinstance(until, str) and not _is_instant(until):
            yield ("until",), WrongValue("expected an instant such as 2024-01-01T06:00:00Z", found=quoted(until))
        if data.get("timeout") is not None and data.get("event") is None:
            yield ("timeout",), WrongValue("only a wait for an event has a timeout", found="no event")


def _is_instant(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


ONLY_IMPORT = (
    *("mapping", "cleanse", "select", "where", "expect", "mask", "apply"),
    *("deduplicate", "expect_set", "outputs", "unnest"),
)
"""Options of a step that only an import has a use for."""
WORKLESS = ("gate", "wait")
"""Kinds that only wait."""
ONLY_WORK = ("ensures", "queue", "breaker", "resources", "compensate")
"""Options of a step that only work has a use for."""
KINDS = ("import", "validate", "gate", "deliver", "maintain", "python", "workflow", "map", "wait")
"""What a step can be."""


def _amount(value: float) -> float:
    if value > 1 and value != int(value):
        raise WrongValue("expected a whole number, or less than 1", found=f"{value:g}")
    return value


def _compensation(value: str) -> str:
    if value == "withdraw":
        return value
    module, _, function = value.partition(":")
    if module and function:
        return value
    raise WrongValue("allowed: withdraw, module:function", found=quoted(value))


class Step(Choice):
    """One node of the run's graph."""

    choices: ClassVar[tuple[str, ...]] = KINDS
    noun: ClassVar[str] = "a step"

    after: list[Name] = Field(default_factory=list)
    """Steps that must have succeeded before. Default: none; steps without an order may run in any."""
    import_: Import | None = Field(default=None, alias="import")
    """New objects of a source become rows of a table, each exactly once."""
    validate_: list[Check] | None = Field(default=None, alias="validate", min_length=1)
    """Checks whose results make an alignment report."""
    gate: Condition | None = None
    """A condition that the run may not pass without."""
    deliver: Deliver | None = None
    """Rows of a table go out to targets."""
    maintain: Maintain | None = None
    """Upkeep of a table."""
    python: PythonCall | None = None
    """A function of the user."""
    workflow: SubWorkflow | None = None
    """Another workflow file."""
    map: Map | None = None
    """The same work over many values."""
    wait: Wait | None = None
    """Time goes by, or something happens."""
    mapping: Mapped | None = None
    """What the table's columns are made of: paths, casts, constants. Default: the source's columns as they are. Import
    only."""
    cleanse: dict[Selector, Rules] = Field(default_factory=dict)
    """Rules by column, which its values go through in their order. `*` stands for every column, `type:string` for those
    of a type; a rule leaves alone what is no value for it. Default: none. Import only."""
    select: dict[Text, Sql] = Field(default_factory=dict)
    """Columns that are added or replaced, each by an SQL expression over one row. Default: none. Import only."""
    where: Sql | None = None
    """An SQL condition; rows that do not meet it are left out and counted as filtered. Default: all rows stay. Import
    only."""
    apply: Hook | None = None
    """`module:function` that turns one Arrow table into another. Default: none. Import only."""
    expect: dict[Name, Expect] = Field(default_factory=dict)
    """Named conditions that rows must meet. Default: none. Import only."""
    mask: dict[Text, Mask] = Field(default_factory=dict)
    """How columns are hidden, by column. Default: none. Import only."""
    deduplicate: Deduplicate | None = None
    """How duplicates are told and which row stays. Default: all rows stay. Import only."""
    expect_set: dict[Name, SetExpect] = Field(default_factory=dict)
    """Named conditions that the rows of a batch must meet together, after duplicates went. Rows that come out of
    quarantine must meet `unique`, `references` and `range` alone. Default: none. Import only."""
    outputs: dict[Name, Output] = Field(default_factory=dict)
    """Files of other formats that get each batch's rows as well, by name. Default: none. Import only, modes append and
    overwrite."""
    unnest: dict[Name, Unnest] = Field(default_factory=dict)
    """Lists in the rows that become rows of other tables, by the name of the table. Default: none. Import only, modes
    append and overwrite."""
    retry: Retry = Retry()
    """When a failed attempt is followed by another. Default: three attempts, 1 and 2 seconds apart."""
    timeouts: Timeouts | None = None
    """How long the step may take. Default: no limits."""
    requires: Condition | None = None
    """A condition that must hold before the first attempt; false or unknown, the step fails. Default: none. Nobody can
    be asked here: that is a gate's."""
    ensures: Condition | None = None
    """A condition that must hold after an attempt; false or unknown, the attempt failed. Default: none."""
    queue: Queue | None = None
    """What the step has to hold while it works. Default: nothing."""
    breaker: Breaker | None = None
    """The circuit breaker before it. Default: none."""
    resources: dict[Text, Annotated[float, Field(ge=0), AfterValidator(_amount)]] = Field(default_factory=dict)
    """What Ray reserves for the step by name: `num_cpus`, `num_gpus`, `memory` in bytes, or a resource of your cluster.
    The step is a Ray task of its own then, also in `lakeray run`. Above 1 amounts are whole. Default: nothing; short
    functions share warm processes, and the tasks of an import reserve one CPU each."""
    compensate: Annotated[str, AfterValidator(_compensation)] | None = None
    """What undoes the step when a later one fails for good: `withdraw` takes this run's rows out again; or
    `module:function`. Default: nothing."""
    compensate_retry: Retry = Retry(maximum_attempts=10)
    """When a failed attempt to undo is followed by another. Default: ten attempts, from 1 second apart on. After the
    last it is a dead letter, and other steps are undone still."""
    on_failure: Literal["fail", "skip_dependents", "continue"] = "fail"
    """What the run does when the step failed for good. `fail` (default): it ends. `skip_dependents`: the steps after it
    are skipped, others go on. `continue`: all go on."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """None or several kinds; an import's options at another kind; a predecessor named twice."""
        yield from super().complaints(data)
        yield from repeated(data.get("after"), "after")
        yield from everywhere_complaints(data.get("cleanse"))
        yield from hidden_keys(data)
        yield from without_outputs(data)
        yield from unnest_complaints(data)
        kinds = [kind for kind in KINDS if data.get(kind) is not None]
        if len(kinds) == 1 and kinds != ["import"]:
            for option in ONLY_IMPORT:
                if data.get(option):
                    yield (
                        (option,),
                        WrongValue("only an import has this", found=f"{quoted(option)} at a step of kind {kinds[0]}"),
                    )
        if len(kinds) == 1 and kinds[0] in WORKLESS:
            for option in ONLY_WORK:
                if data.get(option):
                    found = f"{quoted(option)} at a step of kind {kinds[0]}"
                    yield (option,), WrongValue("only a step that works has this", found=found)
        for option in ("requires", "ensures"):
            for loc in approvals_in(data.get(option)):
                hint = "expected a condition that needs no person: only a gate can wait for one"
                yield (option, *loc), WrongValue(hint, found="approval")
