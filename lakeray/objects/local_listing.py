"""A folder tree is listed here in the order in which an object store lists keys."""

from __future__ import annotations

# ruff: noqa: PTH116, PTH120
# Paths stay text: Path would fold "//" without a word, and costs a listing half its speed.
import bisect
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
    if after > folder and not after.startswith(folder):
        return
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


class _Folder:
    """What one folder holds, each kind in key order.

    Code point order is UTF-8 byte order, a folder sorts as its name with a slash.
    """

    def __init__(self, path: str, begin: str = "") -> None:
        self.path = path
        with os.scandir(path) as scan:
            entries = [entry for entry in scan if entry.name[:1] != "." or not entry.name.startswith(TEMPORARY)]
        if begin:
            entries = [entry for entry in entries if entry.name.startswith(begin)]
        self.folders = sorted((entry for entry in entries if _is_folder(entry)), key=_slashed)
        if self.folders:
            folders = set(self.folders)
            entries = [entry for entry in entries if entry not in folders]
        entries.sort(key=_name)
        self.files = entries

    def steps(self, after: str) -> Iterator[list[os.DirEntry[str]] | os.DirEntry[str]]:
        """Runs of files, and folders between them, whose paths are (or may hold paths) above ``after``."""
        inside = after[len(self.path) :] if after.startswith(self.path) else ""
        done = bisect.bisect_right(self.files, inside, key=_name) if inside else 0
        for folder in self.folders:
            name = _slashed(folder)
            if inside and name <= inside and not inside.startswith(name):
                continue
            upto = bisect.bisect_left(self.files, name, done, key=_name)
            if upto > done:
                yield self.files[done:upto]
                done = upto
            yield folder
        yield self.files[done:]


_name = operator.attrgetter("name")


def _slashed(entry: os.DirEntry[str]) -> str:
    return entry.name + "/"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


_Level = tuple[str, Iterator["list[os.DirEntry[str]] | os.DirEntry[str]"], frozenset[_Identity]]


def _walk(
    folder: str, begin: str, after: str, above: frozenset[_Identity], translate: _Translate
) -> Iterator[tuple[list[str], list[os.stat_result]]]:
    """Paths with statuses of all regular files, in runs.

    Depth first on an explicit stack, so that no depth is too deep.
    """
    with translate(folder):
        stack: list[_Level] = [(folder, _Folder(folder, begin).steps(after), above)]
    while stack:
        base, steps, above = stack[-1]
        step = next(steps, None)
        if step is None:
            stack.pop()
        elif isinstance(step, list):
            for start in range(0, len(step), PAGE_ROWS):
                yield _statuses(base, step[start : start + PAGE_ROWS])
        elif below := _enter(base + step.name + "/", step, after, above, translate):
            stack.append(below)


def _enter(
    path: str, entry: os.DirEntry[str], after: str, above: frozenset[_Identity], translate: _Translate
) -> _Level | None:
    """The folder's level; None for one that vanished or that a link leads back to."""
    try:
        with translate(path):
            found = entry.stat()
            identity = found.st_dev, found.st_ino
            if entry.is_symlink():
                if identity in above:
                    return None
                above |= _identities_above(path)
            return path, _Folder(path).steps(after), above | {identity}
    except ObjectNotFound:
        return None


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


def split_folder(head: str, path: str, parts: int, translate: _Translate) -> list[tuple[str, str | None]]:
    """Ranges over the files below ``path``; opens folders breadth first until there are enough to divide."""
    folder, begin = path[: path.rindex("/") + 1], path[path.rindex("/") + 1 :]
    with translate(head + folder):
        units = _units(folder, begin)
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
        return _units(folder)
    except OSError:  # gone, or closed to us: the listing itself will say so
        return []


def _units(folder: str, begin: str = "") -> list[tuple[str, bool]]:
    """Paths in key order, with whether each is a folder that may be opened.

    A linked one may not, it could lead in a circle.
    """
    found = _Folder(folder, begin)
    units = [(folder + entry.name, False) for entry in found.files]
    units += [(folder + _slashed(entry), not entry.is_symlink()) for entry in found.folders]
    return sorted(units)
