"""A folder tree is listed here in the order in which an object store lists keys."""

from __future__ import annotations

import contextlib
import errno
import operator
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final

import pyarrow as pa

from lakeray.errors import ObjectError, ObjectNotFound
from lakeray.objects.port import LISTING
from lakeray.objects.split import cut

TEMPORARY: Final = ".lakeray-tmp-"
"""Names that begin so are being written: no listing shows them."""

PAGE_ROWS: Final = 10_000
_Translate = Callable[[str], AbstractContextManager[None]]
_Identity = tuple[int, int]


def list_pages(head: str, path: str, start_after: str | None, translate: _Translate) -> Iterator[pa.RecordBatch]:
    """Pages of all files whose path begins with ``path``; ``head`` (empty or ``file://``) is put before every path.

    Raises ObjectNotFound at the first page when the folder that holds ``path`` is absent.
    """
    folder, begin = path[: path.rindex("/") + 1], path[path.rindex("/") + 1 :]
    after = "" if start_after is None else start_after
    if after and head:
        after = after[len(head) :] if after.startswith(head) else ("" if after < head else "\U0010ffff")
    with translate(head + folder):
        above = _identities_above(folder)
    names: list[str] = []
    stats: list[os.stat_result] = []
    for some_names, some_stats in _walk(folder, begin, after, above, lambda uri: translate(head + uri)):
        names += some_names
        stats += some_stats
        while len(names) >= PAGE_ROWS:
            yield _page(head, names[:PAGE_ROWS], stats[:PAGE_ROWS])
            del names[:PAGE_ROWS], stats[:PAGE_ROWS]
    if names:
        yield _page(head, names, stats)


def _page(head: str, names: list[str], stats: list[os.stat_result]) -> pa.RecordBatch:
    uris = [head + name for name in names] if head else names
    try:
        column = pa.array(uris, pa.string())
    except UnicodeEncodeError as error:
        bad = next(uri for uri in uris if not _is_utf8(uri))
        folder = os.path.dirname(bad).encode("utf-8", "replace").decode()
        raise ObjectError(
            f"the name of {os.fsencode(bad)!r} is not UTF-8",
            hint=f"rename that file (convmv renames whole trees); it lies in {folder}",
            uri=folder,
        ) from error
    times = [found.st_mtime_ns for found in stats]
    inodes = [found.st_ino for found in stats]
    modified = pa.array([time // 1000 for time in times], pa.int64())
    columns = [
        column,
        pa.array([found.st_size for found in stats], pa.int64()),
        pa.array([f"{time:x}-{inode:x}" for time, inode in zip(times, inodes, strict=True)], pa.string()),
        pa.nulls(len(stats), pa.string()),
        modified.view(LISTING.field("modified_at").type),
    ]
    return pa.record_batch(columns, schema=LISTING)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _identities_above(folder: str) -> frozenset[_Identity]:
    """Device with inode of ``folder`` and of every folder that it really lies in."""
    real = os.path.realpath(folder, strict=True)
    found = set()
    while True:
        status = os.stat(real)
        found.add((status.st_dev, status.st_ino))
        if real == "/":
            return frozenset(found)
        real = os.path.dirname(real)


def _entries(folder: str, begin: str) -> list[tuple[str, os.DirEntry[str], bool]]:
    """Sorting name, entry and whether it is a folder, in key order. Code point order is UTF-8 byte order."""
    found = []
    with os.scandir(folder) as scan:
        for entry in scan:
            name = entry.name
            if name[:1] == "." and name.startswith(TEMPORARY):
                continue
            if begin and not name.startswith(begin):
                continue
            try:
                is_folder = entry.is_dir()
            except OSError:  # a link in a circle
                continue
            found.append((name + "/" if is_folder else name, entry, is_folder))
    found.sort(key=_first)
    return found


_first = operator.itemgetter(0)


def _walk(
    folder: str, begin: str, after: str, above: frozenset[_Identity], translate: _Translate
) -> Iterator[tuple[list[str], list[os.stat_result]]]:
    """Paths with statuses of all regular files, in runs; depth first on an explicit stack, so that no depth is too deep."""
    with translate(folder):
        stack = [(folder, iter(_entries(folder, begin)), above)]
    while stack:
        base, entries, above = stack[-1]
        run: list[os.DirEntry[str]] = []
        below: _Level | None = None
        for name, entry, is_folder in entries:
            path = base + name
            if path <= after and not (is_folder and after.startswith(path)):
                continue
            if not is_folder:
                run.append(entry)
                if len(run) == PAGE_ROWS:
                    break
            elif below := _enter(path, entry, above, translate):
                break
        else:
            stack.pop()
        if run:
            yield _statuses(base, run)
        if below:
            stack.append(below)


def _statuses(base: str, run: list[os.DirEntry[str]]) -> tuple[list[str], list[os.stat_result]]:
    try:
        stats = [entry.stat() for entry in run]
    except OSError:
        run, stats = _those_left(run)
    names = [base + entry.name for entry in run]
    if all([found.st_mode & _KIND == stat.S_IFREG for found in stats]):  # noqa: C419 - a list is twice as fast here
        return names, stats
    kept = [each for each in zip(names, stats, strict=True) if each[1].st_mode & _KIND == stat.S_IFREG]
    return [name for name, _ in kept], [found for _, found in kept]


def _those_left(run: list[os.DirEntry[str]]) -> tuple[list[os.DirEntry[str]], list[os.stat_result]]:
    """Without what was deleted meanwhile, and without links that lead nowhere."""
    left: list[os.DirEntry[str]] = []
    stats: list[os.stat_result] = []
    for entry in run:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            try:
                stats.append(entry.stat())
            except OSError as error:
                if error.errno == errno.ELOOP:
                    continue
                raise
            left.append(entry)
    return left, stats


_KIND: Final = 0o170000


_Level = tuple[str, Iterator[tuple[str, "os.DirEntry[str]", bool]], frozenset[_Identity]]


def _enter(path: str, entry: os.DirEntry[str], above: frozenset[_Identity], translate: _Translate) -> _Level | None:
    """The folder's entries; None for one that vanished or that a link leads back to."""
    try:
        with translate(path):
            if entry.is_symlink():
                real = _identities_above(path)
                status = os.stat(path)
                if (status.st_dev, status.st_ino) in above:
                    return None
                above |= real
            else:
                status = entry.stat(follow_symlinks=False)
                above |= {(status.st_dev, status.st_ino)}
            return path, iter(_entries(path, "")), above
    except ObjectNotFound:
        return None


def split_folder(head: str, path: str, parts: int, translate: _Translate) -> list[tuple[str, str | None]]:
    """Ranges over the files below ``path``; opens folders breadth first until there are enough to divide."""
    folder, begin = path[: path.rindex("/") + 1], path[path.rindex("/") + 1 :]
    with translate(head + folder):
        units = [(folder + name, is_folder) for name, _, is_folder in _entries(folder, begin)]
    seen = len(units)
    while len(units) < parts * _UNITS_A_PART and seen < _SPLIT_LOOKS and any(is_folder for _, is_folder in units):
        opened: list[tuple[str, bool]] = []
        for name, is_folder in units:
            if not is_folder or seen >= _SPLIT_LOOKS:
                opened.append((name, is_folder))
                continue
            below = _names(name)
            seen += 1 + len(below)
            opened += below
        units = opened
    weights = [_FOLDER_WEIGHT if is_folder else 1 for _, is_folder in units]
    return cut([head + name for name, _ in units], weights, parts)


_UNITS_A_PART: Final = 16
_SPLIT_LOOKS: Final = 200_000
_FOLDER_WEIGHT: Final = 200
"""Files that an unopened folder is taken to hold: only balance rests on it."""


def _names(folder: str) -> list[tuple[str, bool]]:
    try:
        return [(folder + name, is_folder and not entry.is_symlink()) for name, entry, is_folder in _entries(folder, "")]
    except OSError:  # gone, or closed to us: the listing itself will say so
        return []
