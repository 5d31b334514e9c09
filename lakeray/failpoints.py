"""Named places in a protocol at which a test may end the process, freeze it or drop a reply.

A failpoint costs one dictionary look-up when nothing is armed. ``LAKERAY_FAILPOINTS`` arms them, as in
``after_manifest=kill``, ``commit_reply=error:2`` (on the second pass) or ``before_commit=stop``, several divided by
commas. ``REGISTRY`` lists every name, so that a test can go through all of them and a misspelt one is refused.
"""

from __future__ import annotations

import os
import signal
import threading

from lakeray.errors import ConfigError, StoreUnavailable

EVERY_IMPORT = {
    "before_manifest": "the batch is planned, its manifest is not written",
    "after_manifest": "the manifest is written, no object was read",
    "task_started": "a task begins with its first object",
    "task_staged": "a task has written its files, its outcome was not returned",
    "before_result": "every object is staged, the result is not written",
    "after_result": "the result is written, nothing is committed",
    "before_commit": "the handle was checked, the commit not sent",
    "commit_reply": "the commit happened, its reply is not yet seen",
    "after_commit": "the batch is visible, nothing is recorded",
    "after_tombstones": "deletes are remembered, refused rows are not recorded",
    "after_quarantine_commit": "refused rows are recorded, the ledger is not",
    "before_ledger_commit": "the ledger rows are ready, not committed",
    "after_ledger_commit": "the batch is recorded, the next not planned",
}
"""Those that every import passes."""
NEW_COLUMNS = {
    "before_schema_commit": "new columns are known, not yet added",
    "after_schema_commit": "new columns are added, the data is not",
}
"""Those of a batch with columns that the table lacks."""
CHANGES = {
    "changes_ordered": "changes of rows are in order, the table was not looked at",
    "changes_matched": "files that hold changed rows are written anew, the changed rows are not",
    "changes_applied": "changed rows are staged, the result is not written",
}
"""Those of an import of changes (modes merge and scd2)."""
TAKE_OUT = {
    "before_take_out": "every object is staged, no file of the table was looked into for rows that go",
    "after_take_out": "files without the rows that go are staged, nothing is committed",
}
"""Those of a batch that takes rows out of the table by where they came from, or by a condition."""
SETS = {
    "rows_struck": "staged files were written anew without some rows, the old ones are there still",
    "batch_settled": "duplicates are gone and set expectations hold, the result is not written",
}
"""Those of a batch that is deduplicated or held to rules over its rows together."""
REPROCESS = {
    "before_quarantine_leave": "rows of a reprocessed batch are in the table, and in quarantine still",
    "after_quarantine_leave": "rows of a reprocessed batch have left quarantine, the ledger is not written",
}
"""Those of a batch of rows from quarantine."""
OUTPUTS = {
    "outputs_written": "every object is staged, its rows are in the outputs' files, the result is not written",
    "before_output_markers": "refused rows are recorded, the outputs' files are not told",
    "after_output_markers": "the outputs' files are told, the ledger is not written",
}
"""Those of a batch with files of other formats."""
CHILDREN = {
    "before_child_commit": "the result is written, a child table does not have the batch, those before it do",
    "after_child_commit": "a child table has the batch, those behind it and the step's own table do not",
}
"""Those of a batch whose lists become rows of child tables; passed for each of these."""
UPKEEP = {
    "optimize_staged": "rows were put into other files, nothing is committed",
    "optimize_committed": "the other files are in the table, the rest of an optimize is not done",
    "log_entry_deleted": "an old entry of the log is gone, others are not",
}
"""Those of upkeep beside imports."""
WIDER_TYPES = {
    "before_widen_commit": "columns have to take wider types, the table's files are not yet written anew",
    "after_widen_commit": "columns have wider types, the data is not there",
}
"""Those of a batch for which columns of the table take a wider type."""
KEYS = {
    "key_wrapped": "a data key is stored wrapped, it has no number and encrypts nothing",
    "key_numbered": "a data key has its number, nothing is encrypted under it",
    "key_rewrapped": "a data key can be opened by the new key too, the next one not yet",
    "key_renewed": "files are written anew under the newest data key, nothing is committed",
    "key_committed": "some files are under the newest data key, others are not yet",
    "key_retired": "a data key can be opened by the new key alone, the next one by the old one too",
}
"""Those of a change of keys; an import that makes a first data key passes the first two."""
STATE = {
    "before_lease": "an owner wants a shard, nothing is stored",
    "after_lease": "the shard is the owner's, which does not know it yet",
    "before_append": "events and messages are ready, nothing is stored",
    "after_append": "events and messages are stored, the reply is not yet seen",
    "before_settle": "a message was handed over, it is in the outbox still",
    "after_settle": "a message has left the outbox, the reply is not yet seen",
    "before_send": "a command is ready, nothing is stored",
    "after_send": "a command is stored, its sender does not know it yet",
    "before_answer": "a command was refused, nothing is stored",
    "after_answer": "a command is answered, the reply is not yet seen",
    "before_snapshot": "a snapshot is ready, nothing is stored",
    "after_snapshot": "a snapshot is stored, the reply is not yet seen",
    "before_put": "a register has a new value, nothing is stored",
    "after_put": "a register is changed, the reply is not yet seen",
    "before_forget": "ended runs are in the archive, and in the store still",
    "after_forget": "ended runs have left the store, the reply is not yet seen",
}
"""Those of the event store, whichever backend it has."""
RUNS = {
    "before_effect": "the history says that a worker has the work, which it does not have yet",
    "after_effect": "the work is done, the run was not told",
    "before_compensation": "the history says that a worker undoes a step, which it has not begun",
    "after_compensation": "a step is undone, the run was not told",
    "before_gate": "a gate or a condition is to be judged, nobody has begun",
    "after_gate": "a verdict is there, the run was not told",
}
"""Those of every step of a run, beside the store's before and after each append."""
TRIGGERS = {
    "after_fire_kept": "it is decided that a run begins, it was not asked for",
    "before_fire_sent": "a run is about to be asked for, nothing is stored",
    "after_fire_sent": "a run was asked for, others of the same look were not",
    "notification_sent": "an address was told of something, which is in the outbox still",
    "after_queue_read": "what a queue told is kept, its messages are in the queue still",
    "after_ends_told": "triggers were told of ended runs, the feed's position is not kept",
}
"""Those of whatever makes runs begin by themselves."""
BACKFILLS = {
    "after_claim_planned": "a backfill's claim is planned, it is not in force",
    "after_claim": "a backfill's claim is in force, nothing of it is planned",
    "after_part_closed": "all of a claim is imported and it can take no batch more, the stream does not know",
    "before_claim_folded": "a claim's end is in the table, its objects are not in the stream's ledger",
    "after_claim_folded": "a claim's objects are in the stream's ledger, the claim is in force still",
    "after_claim_gone": "a claim is over, its end is not recorded",
}
"""Those of an import under a claim."""
REGISTRY: dict[str, str] = {
    **EVERY_IMPORT,
    **NEW_COLUMNS,
    **CHANGES,
    **TAKE_OUT,
    **SETS,
    **REPROCESS,
    **UPKEEP,
    **WIDER_TYPES,
    **OUTPUTS,
    **CHILDREN,
    **KEYS,
    **STATE,
    **RUNS,
    **TRIGGERS,
    **BACKFILLS,
}
_ACTIONS = ("kill", "stop", "error", "stop_error", "exit")


def _armed() -> dict[str, tuple[str, int]]:
    found: dict[str, tuple[str, int]] = {}
    for part in filter(None, os.environ.get("LAKERAY_FAILPOINTS", "").split(",")):
        name, _, action = part.partition("=")
        action, _, count = action.partition(":")
        if name not in REGISTRY or action not in _ACTIONS:
            raise ConfigError(
                f"LAKERAY_FAILPOINTS names {part!r}",
                hint=f"names: {', '.join(REGISTRY)}; actions: {', '.join(_ACTIONS)}",
            )
        found[name] = (action, int(count or 1))
    return found


_ARMED = _armed()
_PASSES: dict[str, int] = {}


def failpoint(name: str) -> None:
    """Do at ``name`` what ``LAKERAY_FAILPOINTS`` asks for, which is nothing unless a test armed it.

    Raises StoreUnavailable for the action ``error``.
    """
    if name not in _ARMED:
        return
    action, count = _ARMED[name]
    _PASSES[name] = _PASSES.get(name, 0) + 1
    if _PASSES[name] != count:
        return
    if action == "kill":
        _strike(signal.SIGKILL)
    elif action in ("stop", "stop_error"):
        _strike(signal.SIGSTOP)
    elif action == "exit":
        os._exit(17)
    if action in ("error", "stop_error"):
        raise StoreUnavailable(f"failpoint {name}: the reply was dropped", hint="armed by LAKERAY_FAILPOINTS")


def _strike(number: signal.Signals) -> None:
    """Send this thread the signal, which acts on the whole process: sent to the process, another thread may take it,
    and this one runs on past the failpoint for a moment.
    """
    signal.pthread_kill(threading.get_ident(), number)
