"""The object store on a local (or mounted) folder keeps the promises that S3 keeps.

- Names sort by the UTF-8 bytes of the whole path: a folder sorts as its name with a slash.
- A name that is not UTF-8 raises ObjectError with its folder: leaving it out would lose data without a word.
- Links to files are followed, links to folders too, except one that leads back to a folder it lies in. What is neither
  file nor folder (pipe, socket, device, dangling link) is no object.
- Written bytes are on disk (fsync of file and folder) before a call returns. A kill leaves at most a file whose name
  begins with ``.lakeray-tmp-``, which listings leave out.
- A path with an empty, ``.`` or ``..`` segment is refused: one object would have two names.
"""

from __future__ import annotations

# ruff: noqa: PTH100, PTH102, PTH105, PTH108, PTH112, PTH116, PTH120
# Paths stay text: Path would fold "//" without a word, and costs a listing half its speed.
import contextlib
import errno
import io
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import BinaryIO, Final, cast

import pyarrow as pa

from lakeray.errors import AccessDenied, ObjectChanged, ObjectError, ObjectExists, ObjectNotFound, StoreUnavailable
from lakeray.objects.local_listing import TEMPORARY, list_pages, split_folder
from lakeray.objects.port import ObjectInfo, Ranges

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BUFFER_BYTES: Final = 2**20
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe under an object's name must not hang the caller


class LocalStore:
    """Objects in local folders. Stateless, so it pickles as nothing."""

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[pa.RecordBatch]:
        """Keeps ``ObjectStore.list``; memory is bounded by the largest single folder."""
        path = _path(prefix, prefix=True)
        return list_pages(prefix[: len(prefix) - len(path)], path, start_after, translate)

    def split(self, prefix: str, parts: int) -> Ranges:
        """Keeps ``ObjectStore.split``.

        Looks at folder names only, opening folders breadth first until there are enough.
        """
        path = _path(prefix, prefix=True)
        return split_folder(prefix[: len(prefix) - len(path)], path, parts, translate)

    def head(self, uri: str) -> ObjectInfo:
        """Keeps ``ObjectStore.head``."""
        with translate(uri):
            found = os.stat(_path(uri))
        if not stat.S_ISREG(found.st_mode):
            raise _not_found(uri)
        return _info(uri, found)

    def read(self, uri: str, *, offset: int = 0, length: int | None = None, match: ObjectInfo | None = None) -> bytes:
        """Keeps ``ObjectStore.read``: size, time and inode are compared before and after the bytes are read."""
        with _Raw(uri, match=match) as raw:
            raw.seek(offset)
            return _read_fully(raw, length)

    def open(self, uri: str, *, match: ObjectInfo | None = None) -> BinaryIO:
        """Keeps ``ObjectStore.open``; without ``match`` the reader holds on to the version that it opened."""
        raw = _Raw(uri, match=match)
        return cast("BinaryIO", io.BufferedReader(raw, _BUFFER_BYTES))

    def create(self, uri: str, data: bytes) -> None:
        """Keeps ``ObjectStore.create``: a synced temporary file is linked to its name, which the kernel does once."""
        target = _path(uri)
        temporary = _write_temporary(uri, target, data)
        try:
            with translate(uri):
                os.link(temporary, target)
        except ObjectExists:
            if not self._holds(uri, data):
                raise
        finally:
            _unlink(temporary)
        _sync_folder(target)

    def put(self, uri: str, data: bytes) -> None:
        """Keeps ``ObjectStore.put``: a synced temporary file takes over the name."""
        target = _path(uri)
        temporary = _write_temporary(uri, target, data)
        _publish(uri, temporary, target)

    def open_write(self, uri: str) -> BinaryIO:
        """Keeps ``ObjectStore.open_write``; leaving its ``with`` block by an error discards."""
        return cast("BinaryIO", _Writer(uri))

    def delete(self, uri: str) -> None:
        """Keeps ``ObjectStore.delete``; a folder under that name is no object and stays."""
        path = _path(uri)
        with contextlib.suppress(ObjectNotFound), translate(uri):
            if not os.path.isdir(path):
                os.unlink(path)

    def copy(self, source: str, target: str) -> None:
        """Keeps ``ObjectStore.copy``: the copy is of one version, or ObjectChanged is raised."""
        with _Raw(source, match=None) as raw, _Writer(target) as writer:
            shutil.copyfileobj(raw, writer, _BUFFER_BYTES)

    def _holds(self, uri: str, data: bytes) -> bool:
        try:
            return self.read(uri) == data
        except ObjectError:
            return False


def _read_fully(raw: _Raw, length: int | None) -> bytes:
    if length is None:
        return raw.readall()
    parts: list[bytes] = []
    while length > 0 and (part := raw.read(length)):
        parts.append(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _path(uri: str, *, prefix: bool = False) -> str:
    """The file path behind a local uri. Raises ObjectError for one that is relative or has a second spelling."""
    path = uri[7:] if uri[:7].lower() == "file://" else uri
    segments = path.split("/")
    inner = segments[1:-1] if prefix else segments[1:]
    if not path.startswith("/"):
        wrong, what = True, "is a relative path"
    else:
        wrong = any(part in ("", ".", "..") for part in inner) or "\0" in path
        what = "has an empty, '.' or '..' segment, a last slash or a NUL, which a local path cannot keep"
    if wrong:
        hint = f"write {os.path.abspath(path.replace(chr(0), ''))}"
        raise ObjectError(f"{uri!r} {what}", hint=hint, uri=uri)
    return path


def _etag(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}-{found.st_ino:x}"


def _info(uri: str, found: os.stat_result) -> ObjectInfo:
    modified = _EPOCH + timedelta(microseconds=found.st_mtime_ns // 1000)
    return ObjectInfo(uri=uri, size=found.st_size, etag=_etag(found), version_id=None, modified_at=modified)


def _not_found(uri: str) -> ObjectNotFound:
    if uri.endswith("/") and os.path.isfile(uri.rstrip("/")):  # noqa: PTH113 - uris are text here
        return ObjectNotFound(f"{uri} is a file, not a folder", hint="leave out the last slash", uri=uri)
    return ObjectNotFound(f"{uri} does not exist", hint="check the path; it is case-sensitive", uri=uri)


@contextlib.contextmanager
def translate(uri: str) -> Iterator[None]:
    """Turn an OSError about ``uri`` into the ObjectError that says what to do."""
    try:
        yield
    except OSError as error:
        raise _translated(uri, error) from error
    except ValueError as error:  # a NUL, or a lone surrogate
        raise ObjectError(
            f"{uri!r} cannot be a local path", hint="use characters that a file name may hold", uri=uri
        ) from error


def _translated(uri: str, error: OSError) -> ObjectError:  # noqa: PLR0911 - a table
    reason = (error.strerror or type(error).__name__).lower()
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.ELOOP:
            return _not_found(uri)
        case errno.EEXIST:
            return ObjectExists(f"{uri} exists already", hint="another writer was first", uri=uri)
        case errno.EACCES | errno.EPERM | errno.EROFS:
            hint = "check owner and mode of the file and of every folder above it (ls -ld)"
            return AccessDenied(f"{uri}: {reason}", hint=hint, uri=uri)
        case errno.ENOSPC | errno.EDQUOT:
            return StoreUnavailable(f"{uri}: {reason}", hint="free some space on that disk (df -h)", uri=uri)
        case errno.EMFILE | errno.ENFILE:
            return StoreUnavailable(f"{uri}: {reason}", hint="raise the limit of open files (ulimit -n)", uri=uri)
        case errno.EIO | errno.ESTALE | errno.ETIMEDOUT:
            return StoreUnavailable(f"{uri}: {reason}", hint="check the disk or the mount", uri=uri)
        case errno.EISDIR:
            return ObjectError(f"{uri} is a folder", hint="name an object in it", uri=uri)
        case errno.ENOTSUP:
            hint = "create-if-absent needs hard links: use a file system that has them, or an object store"
            return ObjectError(f"{uri}: {reason}", hint=hint, uri=uri)
    return ObjectError(f"{uri}: {reason}", hint="use another path", uri=uri)


class _Raw(io.RawIOBase):
    """An open file that refuses to return bytes of any version but one."""

    def __init__(self, uri: str, *, match: ObjectInfo | None) -> None:
        super().__init__()
        self._uri = uri
        try:
            with translate(uri):
                self._fd = os.open(_path(uri), _READ)
        except ObjectNotFound as error:
            if match is None:
                raise
            raise _changed(uri) from error
        found = os.fstat(self._fd)
        self._version = (found.st_size, _etag(found)) if match is None else (match.size, match.etag or _etag(found))
        try:
            if not stat.S_ISREG(found.st_mode):
                raise _not_found(uri)
            self._check()
        except ObjectError:
            self.close()
            raise

    def _check(self) -> None:
        found = os.fstat(self._fd)
        # No link left means that the name now holds another version, or nothing: these bytes are no longer the
        # object's.
        if (found.st_size, _etag(found)) != self._version or found.st_nlink == 0:
            raise _changed(self._uri)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return os.lseek(self._fd, offset, whence)

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        with translate(self._uri):
            count = os.readv(self._fd, [buffer])
        self._check()
        return count

    def readall(self) -> bytes:
        with translate(self._uri):
            data = _drain(self._fd)
        self._check()
        return data

    def close(self) -> None:
        if not self.closed and hasattr(self, "_fd"):
            os.close(self._fd)
        super().close()


def _drain(fd: int) -> bytes:
    left = max(0, os.fstat(fd).st_size - os.lseek(fd, 0, os.SEEK_CUR))
    parts: list[bytes] = []
    while part := os.read(fd, min(max(left, 1), 2**30)):
        parts.append(part)
        left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _changed(uri: str) -> ObjectChanged:
    return ObjectChanged(
        f"{uri} is no longer the version that was listed", hint="the next discovery finds it anew", uri=uri
    )


class _Writer(io.RawIOBase):
    """A file that gets its name when it is closed."""

    def __init__(self, uri: str) -> None:
        super().__init__()
        self._uri = uri
        self._target = _path(uri)
        self._temporary, self._fd = _open_temporary(uri, self._target)
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        if self.closed:
            raise ValueError("write to a closed object")
        with translate(self._uri):
            size = _write_all(self._fd, data)
        self._written += size
        return size

    def close(self) -> None:
        if self.closed:
            return
        try:
            with translate(self._uri):
                os.fsync(self._fd)
        except ObjectError:
            self.discard()
            raise
        os.close(self._fd)
        super().close()
        _publish(self._uri, self._temporary, self._target)

    def discard(self) -> None:
        """Forget what was written; the name stays as it was."""
        if self.closed:
            return
        os.close(self._fd)
        super().close()
        _unlink(self._temporary)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            self.discard()  # forgotten is not finished


def _write_all(fd: int, data: bytes) -> int:
    view = memoryview(data).cast("B")
    done = 0
    while done < len(view):
        done += os.write(fd, view[done:])
    return done


def _open_temporary(uri: str, target: str) -> tuple[str, int]:
    folder = os.path.dirname(target)
    temporary = f"{folder.rstrip('/')}/{TEMPORARY}{secrets.token_hex(12)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with translate(uri):
        try:
            return temporary, os.open(temporary, flags, 0o666)
        except FileNotFoundError:
            _make_folders(folder)
            return temporary, os.open(temporary, flags, 0o666)


def _write_temporary(uri: str, target: str, data: bytes) -> str:
    temporary, fd = _open_temporary(uri, target)
    try:
        with translate(uri):
            _write_all(fd, data)
            os.fsync(fd)
    except ObjectError:
        _unlink(temporary)
        raise
    finally:
        os.close(fd)
    return temporary


def _publish(uri: str, temporary: str, target: str) -> None:
    try:
        with translate(uri):
            os.replace(temporary, target)
    except ObjectError:
        _unlink(temporary)
        raise
    _sync_folder(target)


def _make_folders(folder: str) -> None:
    """Make ``folder`` with its parents, each synced, so that a power cut cannot take the way to a synced file."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for each in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(each)
        if not os.path.isdir(each):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), each)
        _sync_folder(each)


def _sync_folder(path: str) -> None:
    fd = os.open(os.path.dirname(path) or "/", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(fd)


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
