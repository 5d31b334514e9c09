"""Every error that lakeray raises on purpose, as one tree.

LakerayError
├── SpecError                the workflow file or the arguments are wrong; nothing was started (exit code 2)
│   └── NotBuiltError        a step kind or option of the contract that this version does not run (exit code 2)
├── ConfigError              a setting or environment variable is wrong (exit code 2)
├── ObjectError              something about an object or its store
│   ├── ObjectNotFound
│   ├── ObjectExists         create-if-absent found the object there
│   ├── ObjectChanged        a precondition failed: this is not the version that was asked for
│   ├── AccessDenied         missing, wrong or insufficient credentials
│   └── StoreUnavailable     endpoint, region, network or throttling; retrying can help
├── ReadError                an object cannot be read as its format (corrupt, truncated, wrong extension)
├── TransformError           an expression or a hook of the user failed
├── ExpectationFailed        an expectation with ``on_violation: fail`` was violated; nothing was committed
├── TableError               something about a Delta table
│   ├── UnsupportedTable     it needs writer features that lakeray does not have
│   ├── CommitConflict       another writer was faster; reopen and look again
│   ├── ColumnRetyped        a column took another type since the files were staged; stage them again
│   └── ExactlyOnceError     the table's transaction ids contradict the ledger; nothing was imported
│       └── RecordLost       a manifest, a result or the ledger is gone or damaged
├── StateError               something about the store of runs and their events
│   ├── StateUnavailable     it cannot be reached or cannot write; what was asked may have happened: ask again
│   ├── SequenceConflict     the run has gone on since it was read
│   ├── RevisionConflict     the register was changed since it was read
│   ├── LeaseHeld            somebody else owns the shard, or the file
│   ├── Fenced               somebody else has taken the shard over: drop everything
│   ├── HistoryWentBack      the store has lost what it had acknowledged
│   └── StateFormat          it holds what this version cannot read, or is no store of lakeray's
├── ImportFailed             an import stopped for a reason that its message names
├── AuditError               rows do not balance: a defect in lakeray, nothing was committed
└── Cancelled                a person asked the run to stop
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import ClassVar

_PACKAGE = Path(__file__).parent

WITHOUT_A_BACKUP = (
    "without a backup, `lakeray ledger rebuild --accept-table` takes the table as it is, and `--start-over` has "
    "everything imported again"
)
"""How a hint ends where a lost record stops an import."""


def place_of(error: BaseException) -> str:
    """``file.py:line`` of the innermost frame of lakeray's own, else of any: where a defect shows.

    It stands where the error's text may not, for that may hold values.
    """
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)]
    last = (ours or frames)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


class LakerayError(Exception):
    """What happened, to what, and what to do about it.

    ``message`` is one sentence that names the thing; ``hint`` says what to do; ``uri`` is the object or table it is
    about. The class attribute ``code`` is stable over releases, ``retryable`` says whether trying again can help,
    ``exit_code`` is the command line's. Instances survive pickling with all of these.
    """

    code: ClassVar[str] = "lakeray"
    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, uri: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.uri = uri

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.__dict__))


def _rebuild(cls: type[LakerayError], attributes: dict[str, object]) -> LakerayError:
    error = cls.__new__(cls)
    Exception.__init__(error, attributes["message"])
    error.__dict__.update(attributes)
    return error


class SpecError(LakerayError):
    """The workflow file or the arguments are wrong; nothing was started."""

    code = "spec"
    exit_code = 2


class NotBuiltError(SpecError):
    """The contract knows it, this version cannot run it; nothing was started."""

    code = "not_built"


class ConfigError(LakerayError):
    """A setting or an environment variable is wrong; nothing was started."""

    code = "config"
    exit_code = 2


class ObjectError(LakerayError):
    """Something about an object or its store."""

    code = "object"


class ObjectNotFound(ObjectError):
    """The object, bucket, container or folder is not there."""

    code = "object_not_found"


class ObjectExists(ObjectError):
    """Create-if-absent found the object there already."""

    code = "object_exists"


class ObjectChanged(ObjectError):
    """The object is no longer the version that was asked for."""

    code = "object_changed"


class AccessDenied(ObjectError):
    """Credentials are missing, wrong, or may not do this."""

    code = "access_denied"


class StoreUnavailable(ObjectError):
    """The endpoint cannot be reached, or asks to slow down."""

    code = "store_unavailable"
    retryable = True


class ReadError(LakerayError):
    """An object cannot be read as its format: corrupt, truncated, or something else under that name."""

    code = "read"


class TransformError(LakerayError):
    """An expression or a hook of the user failed."""

    code = "transform"


class ExpectationFailed(LakerayError):
    """An expectation with ``on_violation: fail`` was violated; nothing was committed."""

    code = "expectation_failed"


class TableError(LakerayError):
    """Something about a Delta table."""

    code = "table"


class UnsupportedTable(TableError):
    """The table asks its writers for features that lakeray does not have."""

    code = "unsupported_table"


class CommitConflict(TableError):
    """Another writer changed the table first: reopen it and look again."""

    code = "commit_conflict"
    retryable = True


class ColumnRetyped(TableError):
    """A column of the table took another type while files were staged for it: they have to be staged again."""

    code = "column_retyped"
    retryable = True


class ExactlyOnceError(TableError):
    """The table's transaction ids contradict the ledger: nothing was imported."""

    code = "exactly_once"


class RecordLost(ExactlyOnceError):
    """A manifest, a result or the ledger, which say what is in the table, is gone or damaged."""


class StateError(LakerayError):
    """Something about the store of runs and their events."""

    code = "state"


class StateUnavailable(StateError):
    """The store cannot be reached, or cannot write now.

    What was asked may have happened; everything the store is asked for may be asked again and happens once.
    """

    code = "state_unavailable"
    retryable = True


class SequenceConflict(StateError):
    """The run has gone on since it was read: read it again, decide anew."""

    code = "sequence_conflict"
    retryable = True


class RevisionConflict(StateError):
    """The register was changed since it was read: read it again, decide anew."""

    code = "revision_conflict"
    retryable = True


class LeaseHeld(StateError):
    """Somebody else, whom the message names, owns the shard, or the whole file."""

    code = "lease_held"
    retryable = True


class Fenced(StateError):
    """Somebody else has taken the shard over: whoever sees this drops everything about the shard."""

    code = "fenced"


class HistoryWentBack(StateError):
    """The store has lost what it had acknowledged: a backup was restored, or a replica that lagged took over."""

    code = "history_went_back"


class StateFormat(StateError):
    """The store holds what this version cannot read, or is no store of lakeray's."""

    code = "state_format"
    exit_code = 2


class ImportFailed(LakerayError):
    """An import stopped for the reason that its message names."""

    code = "import_failed"


class AuditError(LakerayError):
    """Rows do not balance, which is a defect in lakeray: nothing was committed."""

    code = "audit"


class Cancelled(LakerayError):
    """A person asked the run to stop."""

    code = "cancelled"
