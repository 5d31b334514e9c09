"""Why a store does not do what it was asked, in the words of both backends."""

from __future__ import annotations

from lakeray.errors import Fenced, HistoryWentBack, LeaseHeld, RevisionConflict, SequenceConflict
from lakeray.state.instants import from_us
from lakeray.state.port import Append, Lease


def sequence_conflict(append: Append, found: int) -> SequenceConflict:
    """The run is beyond what was expected."""
    return SequenceConflict(
        f"run {append.run_id} is at event {found}, the append expected {append.expected}",
        hint="read the run again and decide anew",
    )


def run_went_back(append: Append, found: int) -> HistoryWentBack:
    """The run has fewer events than its owner read."""
    return HistoryWentBack(
        f"run {append.run_id} had {append.expected} events, the store has {found}",
        hint="park the run and find out which backup or replica the store came back from; what the run did outside "
        "since then is not in its history",
    )


def feed_went_back(shard: int, known: int, found: int) -> HistoryWentBack:
    """The shard's feed ends before what was given out."""
    return HistoryWentBack(
        f"events of shard {shard} up to position {known} were acknowledged, the store has none behind {found}",
        hint="take a new lease and read the shard's runs again; park those that have lost events",
    )


def lease_went_back(shard: int, epoch: int, found: int) -> HistoryWentBack:
    """The store has forgotten a lease."""
    return HistoryWentBack(
        f"epoch {epoch} of shard {shard} was given out, the store knows epochs up to {found}",
        hint="take a new lease and read the shard's runs again; park those that have lost events",
    )


def fenced(shard: int, epoch: int, found: int) -> Fenced:
    """There is a newer lease."""
    return Fenced(
        f"shard {shard} is at epoch {found}: the lease of epoch {epoch} is over",
        hint="drop everything about the shard; its new owner goes on",
    )


def lease_held(shard: int, owner: str, until_us: int) -> LeaseHeld:
    """Another owner's lease runs."""
    return LeaseHeld(
        f"shard {shard} is owned by {owner} until {from_us(until_us).isoformat()}",
        hint="try again when that time is over",
    )


def stale(lease: Lease, found: int) -> Fenced | HistoryWentBack:
    """What an epoch that is not the store's newest means."""
    make = lease_went_back if found < lease.epoch else fenced
    return make(lease.shard, lease.epoch, found)


def revision_conflict(key: str, expected: int, found: int) -> RevisionConflict:
    """The register was changed, made or removed meanwhile."""
    return RevisionConflict(
        f"register {key} is at revision {found or 'none'}, {expected or 'none'} was expected",
        hint="read it again and decide anew",
    )
