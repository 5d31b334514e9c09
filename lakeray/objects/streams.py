"""Remote objects are read and written here as plain binary files."""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import BinaryIO, Final, Protocol, cast

from lakeray.objects.contact import background

BLOCK_BYTES: Final = 4 * 2**20
_RANDOM_BYTES: Final = 64 * 2**10
_BUFFER_BYTES: Final = 256 * 2**10
PART_BYTES: Final = 8 * 2**20
_PARTS_IN_FLIGHT: Final = 3
_PARTS_BEFORE_GROWTH: Final = 1000

Fetch = Callable[[int, int], bytes]
"""``fetch(offset, length)``: exactly these bytes of one version, or ObjectChanged."""


def reader(fetch: Fetch, size_bytes: int) -> BinaryIO:
    """A seekable buffered reader over ``fetch``.

    Reads that go on where the last one ended are fetched a block ahead.
    """
    return cast("BinaryIO", io.BufferedReader(_Ranges(fetch, size_bytes), _BUFFER_BYTES))


class _Ranges(io.RawIOBase):
    def __init__(self, fetch: Fetch, size_bytes: int) -> None:
        super().__init__()
        self._fetch = fetch
        self._size = size_bytes
        self._at = 0
        self._block_at = 0
        self._block = b""
        self._ahead: tuple[int, Future[bytes]] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("negative seek position")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        if self.closed:
            raise ValueError("read of a closed object")
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        if not self._block_at <= self._at < self._block_at + len(self._block):
            self._load(wanted)
        skip = self._at - self._block_at
        data = memoryview(self._block)[skip : skip + wanted]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def readall(self) -> bytes:
        left = self._size - self._at
        if left <= 0:
            return b""
        start, self._at = self._at, self._size
        return self._fetch(start, left)

    def _load(self, wanted: int) -> None:
        """Fill the block from the present place on; two neighbouring loads start reading ahead."""
        sequential = self._at == self._block_at + len(self._block)
        if self._ahead and self._ahead[0] == self._at:
            block = self._ahead[1].result()
        else:
            length = max(wanted, BLOCK_BYTES if sequential else _RANDOM_BYTES)
            block = self._fetch(self._at, min(length, self._size - self._at))
        follows = sequential and bool(self._block)
        self._ahead = None
        self._block_at, self._block = self._at, block
        start = self._at + len(block)
        if follows and start < self._size:
            length = min(BLOCK_BYTES, self._size - start)
            self._ahead = (start, background().submit(self._fetch, start, length))

    def close(self) -> None:
        if not self.closed:
            if self._ahead:
                self._ahead[1].cancel()
            self._ahead, self._block = None, b""
        super().close()


class Upload(Protocol):
    """One object on its way in. Nothing is visible before ``finish`` or ``whole`` returns."""

    def whole(self, data: bytes) -> None:
        """Store ``data`` as the object, in one request."""
        ...

    def begin(self) -> None:
        """Called once before the first part."""
        ...

    def part(self, number: int, data: bytes) -> None:
        """Send part ``number`` (from 1, ascending, no gaps, any order of arrival)."""
        ...

    def finish(self) -> None:
        """Make all parts the object."""
        ...

    def abort(self) -> None:
        """Forget the parts that were sent; never raises."""
        ...


class PartWriter(io.RawIOBase):
    """A writer whose object appears whole at ``close()``.

    Small objects go in one request, larger ones in parts of at least 8 MiB. Keeps at most about five parts in memory.
    ``discard()``, an error inside its ``with`` block and garbage collection leave nothing.
    """

    def __init__(self, upload: Upload) -> None:
        super().__init__()
        self._upload = upload
        self._buffer = bytearray()
        self._parts = 0
        self._written = 0
        self._flights: deque[Future[None]] = deque()

    def writable(self) -> bool:  # noqa: D102 - Python's contract
        return True

    def tell(self) -> int:  # noqa: D102 - Python's contract
        return self._written

    def write(self, data: bytes, /) -> int:  # type: ignore[override]  # noqa: D102
        if self.closed:
            raise ValueError("write to a closed object")
        view = memoryview(data).cast("B")
        self._buffer += view
        self._written += len(view)
        # Parts grow, for stores that allow 10,000 of them: up to 2.5 TiB in all.
        size = PART_BYTES * 2 ** (self._parts // _PARTS_BEFORE_GROWTH)
        while len(self._buffer) >= 2 * size:
            self._send(bytes(memoryview(self._buffer)[:size]))
            del self._buffer[:size]
        return len(view)

    def _send(self, data: bytes) -> None:
        while len(self._flights) >= _PARTS_IN_FLIGHT:
            self._flights.popleft().result()
        if self._parts == 0:
            self._upload.begin()
        self._parts += 1
        self._flights.append(background().submit(self._upload.part, self._parts, data))

    def close(self) -> None:  # noqa: D102 - Python's contract
        if self.closed:
            return
        try:
            if self._parts == 0:
                self._upload.whole(bytes(self._buffer))
            else:
                self._send(bytes(self._buffer))
                while self._flights:
                    self._flights.popleft().result()
                self._upload.finish()
        except BaseException:
            self.discard()
            raise
        super().close()

    def discard(self) -> None:
        """Forget what was written; what was there before stays."""
        if self.closed:
            return
        super().close()
        self._buffer.clear()
        for flight in self._flights:
            flight.cancel()
        for flight in self._flights:
            if not flight.cancelled():
                flight.exception()  # wait: a part that lands after the abort would stay for ever
        self._flights.clear()
        if self._parts:
            self._upload.abort()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        if hasattr(self, "_flights"):
            self.discard()  # forgotten is not finished
