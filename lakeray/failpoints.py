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

REGISTRY: dict[str, str] = {
    "key_wrapped": "a data key is stored wrapped, it has no number and encrypts nothing",
    "key_numbered": "a data key has its number, nothing is encrypted under it",
    "key_rewrapped": "a data key can be opened by the new key too, the next one not yet",
    "key_renewed": "files are written anew under the newest data key, nothing is committed",
    "key_committed": "some files are under the newest data key, others are not yet",
    "key_retired": "a data key can be opened by the new key alone, the next one by the old one too",
    "before_manifest": "the batch is planned, its manifest is not written",
    "after_manifest": "the manifest is written, no object was read",
    "task_started": "a task begins with its first object",
    "task_staged": "a task has written its files, its outcome was not returned",
    "changes_ordered": "changes of rows are in order, the table was not looked at",
    "changes_matched": "files that hold changed rows are written anew, the changed rows are not",
    "changes_applied": "changed rows are staged, the result is not written",
    "outputs_written": "every object is staged, its rows are in the outputs' files, the result is not written",
    "before_result": "every object is staged, the result is not written",
    "after_result": "the result is written, nothing is committed",
    "before_schema_commit": "new columns are known, not yet added",
    "after_schema_commit": "new columns are added, the data is not",
    "before_commit": "the handle was checked, the commit not sent",
    "commit_reply": "the commit happened, its reply is not yet seen",
    "after_commit": "the batch is visible, nothing is recorded",
    "after_tombstones": "deletes are remembered, refused rows are not recorded",
    "after_quarantine_commit": "refused rows are recorded, the ledger is not",
    "before_output_markers": "refused rows are recorded, the outputs' files are not told",
    "after_output_markers": "the outputs' files are told, the ledger is not written",
    "before_ledger_commit": "the ledger rows are ready, not committed",
    "after_ledger_commit": "the batch is recorded, the next not planned",
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
