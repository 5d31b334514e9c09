"""What only a local folder can do wrong."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lakeray.errors import AccessDenied, ObjectChanged, ObjectError, ObjectExists, ObjectNotFound
from lakeray.objects import open_store
from lakeray.objects.local import LocalStore


@pytest.fixture
def store() -> LocalStore:
    return LocalStore()


def names(store: LocalStore, folder: Path, **options: str) -> list[str]:
    root = f"{folder}/"
    return [uri.removeprefix(root) for page in store.list(root, **options) for uri in page["uri"].to_pylist()]


def fill(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(path.encode())


def test_links_are_followed_and_circles_end(store: LocalStore, tmp_path: Path) -> None:
    lake, other = tmp_path / "lake", tmp_path / "other"
    fill(lake, "a/x", "z")
    fill(other, "o/1")
    (lake / "b").symlink_to(other)
    (lake / "file").symlink_to(other / "o/1")
    (lake / "a/up").symlink_to(lake)
    (lake / "a/root").symlink_to("/")
    (lake / "a/me").symlink_to(lake / "a")
    (other / "back").symlink_to(lake)
    (lake / "dangling").symlink_to(lake / "nothing")
    (lake / "ring").symlink_to(lake / "ring")
    assert names(store, lake) == ["a/x", "b/o/1", "file", "z"]
    assert store.read(f"{lake}/file") == b"o/1"
    for absent in ("dangling", "ring"):
        with pytest.raises(ObjectNotFound):
            store.head(f"{lake}/{absent}")


def test_only_regular_files_are_objects_and_a_pipe_hangs_nobody(store: LocalStore, tmp_path: Path) -> None:
    fill(tmp_path, "x")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        assert names(store, tmp_path) == ["x"]
    for odd in ("pipe", "sock"):
        for call in (store.head, store.read, store.open):
            with pytest.raises(ObjectError):
                call(f"{tmp_path}/{odd}")
    with pytest.raises(ObjectNotFound):
        store.read(str(tmp_path))


def test_a_name_that_is_not_utf8_stops_the_listing_with_its_folder(store: LocalStore, tmp_path: Path) -> None:
    fill(tmp_path, "sub/good")
    (tmp_path / "sub" / os.fsdecode(b"bad\xff")).write_bytes(b"")
    with pytest.raises(ObjectError, match="not UTF-8") as raised:
        names(store, tmp_path)
    assert raised.value.uri == f"{tmp_path}/sub"
    str(raised.value).encode()


def test_uris_come_back_as_they_were_asked_for(store: LocalStore, tmp_path: Path) -> None:
    fill(tmp_path, "a/x", "b")
    root = f"file://{tmp_path}/"
    listed = [uri for page in store.list(root) for uri in page["uri"].to_pylist()]
    assert listed == [root + "a/x", root + "b"]
    assert store.head(root + "b").uri == root + "b"
    assert store.read(root + "b") == b"b"
    again = [uri for page in store.list(root, start_after=root + "a/x") for uri in page["uri"].to_pylist()]
    assert again == [root + "b"]
    assert [page.num_rows for page in store.list(root, start_after="g")] == []
    assert [page.num_rows for page in store.list(root, start_after="/z")] == [2]


@pytest.mark.parametrize("path", ["/a//b", "/a/./b", "/a/../b", "/a/", "relative/x", "file://host/x", "/a\0b", "/"])
def test_a_path_with_a_second_spelling_is_refused_with_the_right_one(store: LocalStore, path: str) -> None:
    for call in (store.head, store.read, store.delete, lambda uri: store.put(uri, b"")):
        with pytest.raises(ObjectError) as raised:
            call(path)
        assert raised.value.hint


def test_what_was_written_halfway_is_not_listed(store: LocalStore, tmp_path: Path) -> None:
    file = store.open_write(f"{tmp_path}/x")
    file.write(b"half")
    assert [name.startswith(".lakeray-tmp-") for name in sorted(path.name for path in tmp_path.iterdir())] == [True]
    assert names(store, tmp_path) == []
    file.discard()
    assert sorted(path.name for path in tmp_path.iterdir()) == []


_CREATE_FOR_EVER = """
import os, sys
from lakeray.objects import open_store
store = open_store(sys.argv[1])
print("ready", flush=True)
number = 0
while True:
    store.create(f"{sys.argv[1]}/{number:06}", bytes([number % 256]) * 400_000)
    number += 1
"""


def test_a_killed_writer_leaves_whole_objects_or_nothing(store: LocalStore, tmp_path: Path) -> None:
    """Crash points: any moment within ``create``; ten writers are killed at ten different ones."""
    for attempt in range(10):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with subprocess.Popen([sys.executable, "-c", _CREATE_FOR_EVER, str(folder)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout
            writer.stdout.readline()
            while len(names(store, folder)) < attempt:
                assert writer.poll() is None
            writer.send_signal(signal.SIGKILL)
        listed = names(store, folder)
        assert listed == [f"{number:06}" for number in range(len(listed))]
        for number, name in enumerate(listed):
            assert store.read(f"{folder}/{name}") == bytes([number % 256]) * 400_000


def test_an_in_place_overwrite_is_a_change_too(store: LocalStore, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"first")
    info = store.head(str(path))
    reader = store.open(str(path), match=info)
    os.utime(path, ns=(1, 1))
    with pytest.raises(ObjectChanged):
        reader.read()
    with pytest.raises(ObjectChanged):
        store.read(str(path), match=info)


def test_two_writes_within_one_clock_tick_differ(store: LocalStore, tmp_path: Path) -> None:
    etags = set()
    for _ in range(50):
        store.put(f"{tmp_path}/x", b"same")
        etags.add(store.head(f"{tmp_path}/x").etag)
        os.utime(tmp_path / "x", ns=(1, 1))
    assert len(etags) == 50


def test_a_file_in_the_way_of_a_folder_is_told(store: LocalStore, tmp_path: Path) -> None:
    fill(tmp_path, "x")
    with pytest.raises(ObjectError):
        store.put(f"{tmp_path}/x/y", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ObjectError):
        store.put(f"{tmp_path}/folder", b"")
    with pytest.raises(ObjectExists):
        store.create(f"{tmp_path}/folder", b"")
    store.delete(f"{tmp_path}/folder")
    assert (tmp_path / "folder").is_dir()
    assert [name for name in sorted(path.name for path in tmp_path.iterdir()) if name.startswith(".lakeray")] == []


def test_a_name_that_is_too_long_is_told(store: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(ObjectError, match="too long"):
        store.put(f"{tmp_path}/{'x' * 300}", b"")


@pytest.mark.parametrize("code", ["EACCES", "EROFS", "EPERM"])
def test_missing_permission_is_told(store: LocalStore, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """The superuser is refused nothing, so the kernel's answer is put in its mouth."""
    import errno

    def refuse(*_args: object, **_options: object) -> int:
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "scandir", refuse)
    for call in (lambda: store.read("/a/b"), lambda: store.create("/a/b", b""), lambda: list(store.list("/"))):
        with pytest.raises(AccessDenied) as raised:
            call()
        assert "ls -ld" in str(raised.value)
        assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_a_very_deep_tree_lists(store: LocalStore, tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 400)
    fill(tmp_path, "x")
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(400):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    assert names(store, tmp_path) == [f"{deep.relative_to(tmp_path)}/leaf", "x"]


def test_ranges_of_a_flat_and_of_a_nested_folder_are_even(store: LocalStore, tmp_path: Path) -> None:
    fill(tmp_path, *(f"flat/{number:04}" for number in range(1000)), *(f"deep/{n % 20}/{n}" for n in range(1000)))
    for folder in ("flat", "deep"):
        root = f"{tmp_path}/{folder}/"
        sizes = []
        for start_after, up_to in store.split(root, 4):
            uris = [uri for page in store.list(root, start_after=start_after) for uri in page["uri"].to_pylist()]
            sizes.append(sum(1 for uri in uris if up_to is None or uri <= up_to))
        assert sum(sizes) == 1000
        assert len(sizes) == 4
        assert max(sizes) <= 400
    assert store.split(f"{tmp_path}/none-such", 4) == [("", None)]


def test_it_pickles_as_nothing() -> None:
    assert isinstance(pickle.loads(pickle.dumps(open_store("/x"))), LocalStore)


def test_a_file_that_is_taken_for_a_folder_is_said_to_be_one(tmp_path):
    (tmp_path / "one.json").write_text("{}")
    with pytest.raises(ObjectNotFound, match="is a file, not a folder") as caught:
        list(LocalStore().list(f"{tmp_path}/one.json/"))
    assert caught.value.hint == "leave out the last slash"
