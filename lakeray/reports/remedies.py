"""What to do about each kind of error, for those that do not say it themselves."""

from __future__ import annotations

from types import MappingProxyType

BY_CODE = MappingProxyType(
    {
        "spec": "Correct the workflow file; `lakeray validate FILE` checks it without starting anything.",
        "not_built": "Leave this out of the workflow file until a version that runs it.",
        "config": "Correct the setting or the environment variable; `lakeray doctor` checks the environment.",
        "object_not_found": "Check the uri for typos; `lakeray discover FILE` lists what a source sees.",
        "object_exists": "Run again: someone else wrote the same name at the same moment.",
        "object_changed": "Nothing: the new version of the object is imported by the next run.",
        "access_denied": "Check the AWS_* or AZURE_* variables; `lakeray doctor FILE` tries every uri.",
        "store_unavailable": "Check the endpoint and the network, then run again: what is committed stays.",
        "read": "Check that the object is whole and in the source's format; it is tried again by the next run.",
        "transform": "Correct the expression or the hook, then run again: the batch is finished with the new one.",
        "expectation_failed": "Look at the violated expectation; `on_violation: quarantine` lets good rows through.",
        "unsupported_table": "Import into another table, or remove the table feature that the message names.",
        "commit_conflict": "Run again; another writer changed the table at the same moment.",
        "column_retyped": "Run again: a column of the table took another type at the same moment.",
        "exactly_once": "Compare `lakeray ledger show FILE` with `lakeray tables history FILE`; delete nothing.",
        "import_failed": "Remove the cause that the message names, then run again: what is committed stays.",
        "audit": "This is a defect in lakeray, and nothing was committed: please report it with this report.",
        "state": "Look at the state that LAKERAY_STATE names; the lake itself is not touched by it.",
        "state_unavailable": "Give the disk or the server of LAKERAY_STATE room and time, then run again.",
        "sequence_conflict": "Run again: the run has gone on elsewhere.",
        "revision_conflict": "Run again: somebody changed the same document at the same moment.",
        "lease_held": "Wait for the process that the message names, or set LAKERAY_STATE to a redis:// address.",
        "fenced": "Nothing: another process took the run over and goes on with it; see `lakeray runs show`.",
        "history_went_back": "Find out which backup or replica the state came back from before going on.",
        "state_format": "Use the version of lakeray that wrote the state, or a newer one.",
        "cancelled": "Run the same command again: it goes on where it stopped.",
    }
)
"""Advice by ``LakerayError.code``."""

BY_OUTCOME = MappingProxyType(
    {
        "partly_loaded": "Look at its refused records with `lakeray quarantine list FILE`.",
        "failed": "Check or replace the object; it is tried again by the next run.",
        "poison": "It failed too often and is left alone; repair it, then `lakeray ledger reset FILE --uri URI`.",
        "superseded": "Nothing: it was replaced while it was read; the next run imports the new version.",
        "skipped": "Nothing, unless you want it: then look at the source's `changed_objects`.",
    }
)
"""Advice by the ledger's outcome of an object."""

DEFAULT = "Run again; if it stays, report it with this report."
OF_A_FUNCTION = (
    "It came out of the step's own function: correct that, or what it calls, then `lakeray runs retry RUN` goes on."
)
"""Advice about errors that a function of the user raised."""


def for_code(code: str, hint: str | None) -> str:
    """The error's own hint, or what to do about errors of its kind; the code of a user's error is its class."""
    return hint or BY_CODE.get(code) or (OF_A_FUNCTION if code[:1].isupper() else DEFAULT)


def for_outcome(outcome: str) -> str:
    """What to do about an object with this outcome."""
    return BY_OUTCOME.get(outcome, DEFAULT)
