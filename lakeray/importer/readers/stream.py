"""An object's bytes, decompressed where its name or an option says so."""

from __future__ import annotations

import bz2
import codecs
import lzma
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
from isal import isal_zlib

from lakeray.errors import ReadError
from lakeray.importer.readers.sniff import looks_like

SUFFIXES = {
    ".gz": "gzip",
    ".gzip": "gzip",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".bz2": "bz2",
    ".xz": "xz",
}
MAGIC = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "bz2": b"BZh", "xz": b"\xfd7zXZ\x00"}
_NOT_GZIP: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stubs call it an instance
_PIECE = 1 << 20
_LARGE_READ = 1 << 24
_COMPRESSED_PIECE = 1 << 18


class Source:
    """Reads exactly as many bytes as asked for, fewer only at the end.

    An error that comes after good bytes is raised by the next read, so that nothing before the damage is lost.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""
        self._error: ReadError | None = None

    def read(self, size: int) -> bytes:
        """``size`` bytes, fewer at the end, none after it. Raises ReadError where the object is damaged."""
        parts = [self._rest] if self._rest else []
        have = len(self._rest)
        self._rest = b""
        while have < size and self._error is None:
            try:
                piece = next(self._pieces, None)
            except ReadError as error:
                self._error = error
                break
            if piece is None:
                break
            parts.append(piece)
            have += len(piece)
        if not parts and self._error is not None:
            raise self._error
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if have > size:
            data, self._rest = data[:size], data[size:]
        return data

    def unread(self, data: bytes) -> None:
        """Put bytes back, to be read again first."""
        self._rest = data + self._rest


def compression_of(name: str, option: str | None) -> str | None:
    """The codec of an object: what the option says, else what the suffix of ``name`` says, else None.

    Raises ReadError when the option names none that is known.
    """
    if option in (None, "", "auto"):
        return SUFFIXES.get(PurePosixPath(name.rstrip("/")).suffix.lower())
    if option == "none":
        return None
    if option not in MAGIC:
        raise ReadError(f"compression {option!r} is not known", hint=f"one of none, auto, {', '.join(MAGIC)}", uri=name)
    return option


def open_bytes(file: BinaryIO, *, name: str, compression: str | None) -> Source:
    """The object's bytes after decompression. Raises ReadError when it is not compressed in that way."""
    codec = compression_of(name, compression)
    if codec is None:
        return Source(_plain(file, _PIECE))
    head = file.read(1024)
    if not head.startswith(MAGIC[codec]):
        found = f"it looks like {looks_like(head)}" if head else "it is empty"
        raise ReadError(
            f"the object is not {codec}-compressed: {found}",
            hint="give it its right name, or set compression: none (or its codec) on the source",
            uri=name,
        )
    raw = _Counted(_chain(head, _plain(file, _COMPRESSED_PIECE)), name)
    if codec == "zstd":
        return Source(_zstd(raw))
    makers: dict[str, Callable[[], _Decompressor]] = {
        "gzip": _Gzip,
        "bz2": bz2.BZ2Decompressor,
        "xz": lzma.LZMADecompressor,
    }
    return Source(_inflate(raw, makers[codec], codec))


def text_source(source: Source, encoding: str, *, name: str) -> Source:
    """The source's text as UTF-8 without a byte order mark, which overrules ``encoding`` where there is one.

    What the encoding cannot decode becomes the byte FF, which is never valid UTF-8: the record it stands in is refused
    by itself. Raises ReadError for an encoding that is not known.
    """
    head = source.read(_PIECE)
    marks = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"))
    for mark, found in (*marks, (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if head.startswith(mark):
            encoding = found
            break
    try:
        codec = codecs.lookup(encoding)
    except LookupError:
        raise ReadError(
            f"encoding {encoding!r} is not known", hint="a name that Python's codecs know, such as latin-1", uri=name
        ) from None
    pieces = _chain(head.removeprefix(codecs.BOM_UTF8), _drain(source)) if head else iter(())
    if codec.name in ("utf-8", "utf-8-sig", "ascii"):
        return Source(pieces)
    return Source(_transcode(_chain(head, _drain(source)), codec))


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


class _Gzip:
    """The decompressor of ISA-L, which is faster than zlib's, with the interface of the others."""

    def __init__(self) -> None:
        self._inner = isal_zlib.decompressobj(31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = 0) -> bytes:
        out = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self.needs_input = not self._inner.unconsumed_tail and len(out) < max_length
        return out


class _Counted:
    """Raw pieces, with how many bytes went by."""

    def __init__(self, pieces: Iterator[bytes], name: str) -> None:
        self._pieces = pieces
        self.name = name
        self.offset = 0

    def next(self) -> bytes:
        piece = next(self._pieces, b"")
        self.offset += len(piece)
        return piece

    def damaged(self, codec: str, why: str) -> ReadError:
        return ReadError(
            f"{codec} data is damaged near byte {self.offset} of the object: {why}",
            hint="write the object again; rows before the damage were readable",
            uri=self.name,
        )


def _plain(file: BinaryIO, size: int) -> Iterator[bytes]:
    while piece := file.read(size):
        yield piece


def _chain(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


def _drain(source: Source) -> Iterator[bytes]:
    while piece := source.read(_PIECE):
        yield piece


def _inflate(raw: _Counted, make: Callable[[], _Decompressor], codec: str) -> Iterator[bytes]:
    """Members one after the other; zeros after the last are padding, anything else is damage."""
    engine = make()
    data = raw.next()
    while True:
        if not data and engine.needs_input:
            data = raw.next()
            if not data:
                raise raw.damaged(codec, "it ends in the middle")
        try:
            out = engine.decompress(data, _PIECE)
        except (_NOT_GZIP, OSError, lzma.LZMAError, EOFError) as error:
            raise raw.damaged(codec, str(error)) from None
        data = b""
        if out:
            yield out
        if engine.eof:
            data = engine.unused_data.lstrip(b"\0")
            while not data and (more := raw.next()):
                data = more.lstrip(b"\0")
            if not data:
                return
            engine = make()


class _PieceFile:
    """What pyarrow needs of a file to read compressed pieces."""

    closed = False

    def __init__(self, raw: _Counted) -> None:
        self._raw = raw
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        if not self._rest:
            self._rest = self._raw.next()
        out, self._rest = self._rest[:size], self._rest[size:]
        return out

    def close(self) -> None:
        self.closed = True


class WatchedFile:
    """A file that remembers its own error, to tell a store that fails from data that are damaged.

    Damaged data ask for impossible reads: these fail here, and no more memory is taken than the file is long.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._size: int | None = None
        self.closed = False
        self.error: BaseException | None = None

    def _do(self, what: str, *arguments: int) -> Any:
        try:
            return getattr(self._file, what)(*arguments)
        except BaseException as error:
            self.error = error
            raise

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most ``size``. Raises ValueError for a negative size other than -1."""
        if size < -1:
            raise ValueError(f"a read of {size} bytes")
        if size > _LARGE_READ and self.seekable():
            if self._size is None:
                here = self.tell()
                self._size = int(self._do("seek", 0, 2))
                self._do("seek", here)
            size = min(size, max(0, self._size - self.tell()))
        out: bytes = self._do("read", size)
        while 0 < len(out) < size and (more := self._do("read", size - len(out))):
            out += more
        return out

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place; where that is."""
        if offset < 0 and whence == 0:
            raise ValueError(f"a seek to {offset}")
        return int(self._do("seek", offset, whence))

    def tell(self) -> int:
        """The place of the next byte."""
        return int(self._do("tell"))

    def readable(self) -> bool:
        """Always true."""
        return True

    def writable(self) -> bool:
        """Always false."""
        return False

    def seekable(self) -> bool:
        """Whether ``seek`` works."""
        return bool(self._do("seekable"))

    def close(self) -> None:
        """Forget it; whoever opened the file below closes it."""
        self.closed = True

    def flush(self) -> None:
        """Nothing is written."""


def _zstd(raw: _Counted) -> Iterator[bytes]:
    file = WatchedFile(_PieceFile(raw))
    stream = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
    while True:
        try:
            piece = stream.read(_COMPRESSED_PIECE)
        except (OSError, pa.ArrowException) as error:
            if file.error is not None:
                raise file.error from None
            raise raw.damaged("zstd", str(error).splitlines()[0]) from None
        if not piece:
            return
        yield piece


def _mark_undecodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udcff", max(error.end, error.start + 1)


codecs.register_error("lakeray.mark", _mark_undecodable)


def _transcode(pieces: Iterator[bytes], codec: codecs.CodecInfo) -> Iterator[bytes]:
    assert codec.incrementaldecoder is not None
    decoder = codec.incrementaldecoder("lakeray.mark")
    for piece in pieces:
        yield decoder.decode(piece).encode("utf-8", "surrogateescape")
    if rest := decoder.decode(b"", True):
        yield rest.encode("utf-8", "surrogateescape")
