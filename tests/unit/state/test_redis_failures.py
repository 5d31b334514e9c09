"""A Redis server that would lose runs is refused; one that refuses, restarts or forgets says so, and nothing is done
twice.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis import exceptions

from lakeray.errors import ConfigError, HistoryWentBack, StateError, StateUnavailable
from lakeray.state import Message, open_event_store
from lakeray.state.redis import store as redis_store
from lakeray.state.redis.failures import translated
from lakeray.state.redis.scripts import script
from tests.conformance.event_stores import NOW, append, run_ids, told
from tests.missing import or_skip
from tests.polling import eventually
from tests.servers import OwnRedis, ServerMissing
from tests.servers.processes import free_ports

RUN, OTHER, THIRD = run_ids(3, 16, 3)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnRedis]:
    try:
        server = OwnRedis(tmp_path / "redis")
    except ServerMissing as missing:
        or_skip(missing)
    yield server
    server.running.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"maxmemory-policy": "allkeys-lru"}, "throw runs away"),
        ({"maxmemory-policy": "volatile-ttl"}, "throw runs away"),
        ({"appendonly": "no"}, "forgets everything when it restarts"),
        ({"appendfsync": "no"}, "leaves it to chance"),
    ],
)
def test_settings_that_would_lose_runs_are_refused(server: OwnRedis, settings: dict[str, str], said: str) -> None:
    for name, value in settings.items():
        server.client().config_set(name, value)
    with pytest.raises(ConfigError, match=said):
        open_event_store(server.url)
    assert server.client().keys() == [], "nothing was written"


def test_the_durability_mode_is_named(server: OwnRedis) -> None:
    client = server.client()
    with open_event_store(server.url) as store:
        assert store.durability.mode == "disk"
    client.config_set("appendfsync", "everysec")
    with open_event_store(server.url) as store:
        assert store.durability.mode == "second"
        assert "about one second" in store.durability.sentence
    client.execute_command("ACL", "SETUSER", "narrow", "on", ">pw", "~*", "+@all", "-config")
    with open_event_store(server.url.replace("redis://", "redis://narrow:pw@")) as store:
        assert store.durability.mode == "unknown"


def test_no_text_shows_the_password(server: OwnRedis) -> None:
    server.client().execute_command("ACL", "SETUSER", "me", "on", ">s3cr3t", "~*", "+@all")
    url = server.url.replace("redis://", "redis://me:s3cr3t@")
    with open_event_store(url) as store:
        assert "s3cr3t" not in repr(store)
        server.kill()
        with pytest.raises(StateUnavailable) as away:
            store.read(RUN)
    with pytest.raises(StateUnavailable) as absent:
        open_event_store(url)
    server.start()
    with pytest.raises(ConfigError, match="does not let lakeray in") as wrong:
        open_event_store(server.url.replace("redis://", "redis://me:wr0ng@"))
    for told_so in (away, absent, wrong):
        assert "s3cr3t" not in str(told_so.value)
        assert "wr0ng" not in str(told_so.value)


def test_a_server_without_memory_refuses_whole_appends_and_lets_runs_go(server: OwnRedis) -> None:
    client = server.client()
    with open_event_store(server.url) as store:
        lease = store.lease(3, "owner", 60)
        message = Message(message_id="m", topic="t", due_at=NOW, data=b"m")
        store.append(append(RUN, 0, lease, messages=(message,)))
        store.append(append(OTHER, 0, lease, ended_at=NOW))
        client.config_set("maxmemory", "100kb")
        refused = append(RUN, 1, lease, messages=(message,))
        with pytest.raises(StateUnavailable, match=r"refuses \(OOM\).*\n  -> it has no memory left"):
            store.append(refused)
        assert len(store.read(RUN)) == 1
        store.settle(3, ["m"])
        assert store.forget([OTHER]) == 1, "making room is always possible"
        client.config_set("maxmemory", "0")
        done = store.append(refused)
        assert store.append(refused) == done
        assert [event.sequence for event in store.read(RUN)] == [1, 2]


def test_a_replica_refuses_and_becomes_the_primary_again(server: OwnRedis) -> None:
    client = server.client()
    with open_event_store(server.url) as store:
        lease = store.lease(3, "owner", 60)
        client.execute_command("REPLICAOF", "127.0.0.1", str(free_ports(1)[0]))
        item = append(RUN, 0, lease)
        for ask in (lambda: store.append(item), lambda: store.renew(lease, 60), lambda: store.lease(4, "x", 60)):
            with pytest.raises(StateUnavailable, match=r"refuses \(READONLY\)"):
                ask()
        client.execute_command("REPLICAOF", "NO", "ONE")
        assert store.append(item).sequence == 1


def test_a_server_busy_with_somebodys_script_is_waited_for_by_who_asks(server: OwnRedis) -> None:
    with open_event_store(server.url) as store:
        lease = store.lease(3, "owner", 60)
        item = append(RUN, 0, lease)
        with server.busy(), pytest.raises(StateUnavailable, match=r"refuses \(BUSY\)"):
            store.append(item)
        assert store.append(item).sequence == 1


def test_a_server_that_loads_its_data_is_waited_for_by_who_asks(server: OwnRedis) -> None:
    with open_event_store(server.url) as store:
        store.append(append(RUN, 0, store.lease(3, "owner", 60)))
        server.start_slowly()
        with pytest.raises(StateUnavailable, match=r"refuses \(LOADING\).*\n  -> it reads its data"):
            store.read(RUN)
        server.kill()
        server.start()
        assert eventually(lambda: told(store.read(RUN)), 20) == [(1, "something")]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "OOM"),
        (exceptions.ResponseError("Error running script (call to f_1): @user_script:3: -OOM command not"), "OOM"),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), "READONLY"),
        (exceptions.ResponseError("@user_script: 5: -READONLY You can't write"), "READONLY"),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), "LOADING"),
        (exceptions.ResponseError("BUSY Redis is busy running a script."), "BUSY"),
        (exceptions.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), "MISCONF"),
        (exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), "NOREPLICAS"),
        (exceptions.ConnectionError("Connection closed by server."), "cannot be reached"),
        (exceptions.TimeoutError("Timeout reading from socket"), "may have happened"),
    ],
)
def test_refusals_of_every_release_are_understood(error: Exception, said: str) -> None:
    found = translated("redis://host:1/0", error)
    assert isinstance(found, StateUnavailable)
    assert said in str(found)
    assert found.retryable


def test_a_refusal_that_nobody_knows_is_a_defect() -> None:
    found = translated("redis://host:1/0", exceptions.ResponseError("WRONGTYPE Operation against a key"))
    assert type(found) is StateError
    assert not found.retryable


def test_a_frozen_server_is_given_up_in_time(server: OwnRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "_PATIENCE_S", 0.2)
    with open_event_store(server.url) as store:
        lease = store.lease(3, "owner", 60)
        item = append(RUN, 0, lease)
        os.kill(server.now.pid, signal.SIGSTOP)
        try:
            with pytest.raises(StateUnavailable, match="cannot be reached"):
                store.append(item)
        finally:
            os.kill(server.now.pid, signal.SIGCONT)
        assert store.append(item).sequence == 1, "the first may have arrived after all; it happens once"
        assert len(store.read(RUN)) == 1


def test_a_server_that_forgot_the_scripts_is_shown_them_again(server: OwnRedis) -> None:
    client = server.client()
    with open_event_store(server.url) as store:
        lease = store.lease(3, "owner", 60)
        for number in range(3):
            client.script_flush()
            store.append(append(RUN, number, lease))
            client.script_flush()
            assert [run.sequence for run in store.runs().runs] == [number + 1]
            assert len(store.feed(3, 0, 10)) == number + 1
        assert client.script_exists(script("feed").sha) == [True]


def test_a_server_killed_and_restarted_under_load_has_every_acknowledged_event_once(server: OwnRedis) -> None:
    """Eight threads append to a run each while the server dies three times; whoever gets no answer asks again."""
    deaths = 3
    with open_event_store(server.url) as store:
        lease = store.lease(3, "owner", 60)
        names = run_ids(3, 16, 8)
        over = threading.Event()

        def work(name: str) -> int:
            number = 0
            while not over.is_set():
                item = append(name, number, lease)
                done = eventually(lambda item=item: store.append(item), 20, every_s=0.01)
                number += 1
                assert done.sequence == number
            return number

        with ThreadPoolExecutor(8) as pool:
            working = [pool.submit(work, name) for name in names]
            try:
                for death in range(deaths):
                    eventually(lambda death=death: len(store.read(names[0])) > 5 * (death + 1), 20, every_s=0.01)
                    server.kill()
                    server.start()
            finally:
                over.set()
            counts = [future.result() for future in working]
        for name, count in zip(names, counts, strict=True):
            assert [event.sequence for event in store.read(name)] == list(range(1, count + 1))
        positions = [event.position for event in store.feed(3, 0, 100_000)]
        assert positions == sorted(set(positions))
        assert len(positions) == sum(counts)


def test_a_lost_last_second_is_detected_and_said(server: OwnRedis) -> None:
    """The server acknowledges before it syncs, dies, and comes back without the end of its file."""
    server.client().config_set("appendfsync", "everysec")
    with open_event_store(server.url) as store, open_event_store(server.url) as follower:
        lease = store.lease(3, "owner", 60)
        kept = store.append(append(RUN, 0, lease, "kept"))
        size = server.size_bytes()
        store.append(append(RUN, 1, lease, "lost"))
        last = store.append(append(OTHER, 0, lease, "lost"))
        assert len(follower.feed(3, 0, 10)) == 3
        server.lose(server.size_bytes() - size)
        assert told(store.read(RUN)) == [(1, "kept")]
        with pytest.raises(HistoryWentBack, match=f"{RUN} had 2 events, the store has 1"):
            store.append(append(RUN, 2, lease))
        with pytest.raises(HistoryWentBack, match=f"none behind {kept.position}"):
            store.append(append(THIRD, 0, lease))
        with pytest.raises(HistoryWentBack):
            follower.feed(3, last.position, 10)
        again = store.lease(3, "owner", 60)
        assert store.append(append(THIRD, 0, again)).position > last.position, "no position comes back"
        with pytest.raises(HistoryWentBack):
            follower.feed(3, last.position, 10)
        assert [event.run_id for event in follower.feed(3, kept.position, 10)] == [THIRD]


def test_a_lost_lease_is_detected_and_its_epoch_does_not_come_back(server: OwnRedis) -> None:
    """Two that both believe that they own a shard never share an epoch, even when the store forgot the first."""
    server.client().config_set("appendfsync", "everysec")
    with open_event_store(server.url) as store, open_event_store(server.url) as other:
        size = server.size_bytes()
        lost = store.lease(3, "first", 60)
        server.lose(server.size_bytes() - size)
        with pytest.raises(HistoryWentBack):
            store.append(append(RUN, 0, lost))
        later = other.lease(3, "second", 60)
        assert later.epoch > lost.epoch
        other.append(append(RUN, 0, later))
        with pytest.raises(StateError, match=r"is over|event 1"):
            store.append(append(RUN, 0, lost))
        assert len(store.read(RUN)) == 1


def test_all_keys_of_a_shard_share_a_hash_tag(server: OwnRedis) -> None:
    with open_event_store(server.url) as store:
        for name in run_ids(3, 16, 1) + run_ids(5, 16, 1):
            shard = 3 if name == RUN else 5
            store.append(append(name, 0, store.lease(shard, "owner", 60), wake_at=NOW))
        store.put("k", b"", expected=0)
    keys: list[Any] = server.client().keys()
    found = {key.decode().split(":")[1] for key in keys}
    assert found == {"store", "{3}", "{5}", "{registers}"}
