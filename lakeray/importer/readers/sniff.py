"""What some bytes look like, for messages about objects that are not what their name says."""

from __future__ import annotations

_MAGIC = (
    (b"PAR1", "Parquet"),
    (b"PARE", "Parquet with an encrypted footer"),
    (b"Obj\x01", "Avro"),
    (b"ORC", "ORC"),
    (b"ARROW1", "an Arrow IPC file"),
    (b"\xff\xff\xff\xff", "an Arrow IPC stream"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (b"BZh", "bz2-compressed data"),
    (b"\xfd7zXZ\x00", "xz-compressed data"),
    (b"\x04\x22\x4d\x18", "lz4-compressed data"),
    (b"\xff\x06\x00\x00sNaPpY", "snappy-compressed data"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"SQLite format 3", "an SQLite database"),
)
_UTF16 = ((b"\xff\xfe", "UTF-16 text"), (b"\xfe\xff", "UTF-16 text"))


def binary_format(head: bytes) -> str | None:
    """The name of the binary format that ``head`` begins with, or None where it may well be text."""
    for magic, name in _MAGIC:
        if head.startswith(magic) and not _is_text(head):
            return name
    return None


def looks_like(head: bytes) -> str:
    """A few words for what an object that begins with ``head`` seems to be."""
    if not head:
        return "nothing: it is empty"
    for magic, name in (*_MAGIC, *_UTF16):
        if head.startswith(magic):
            return name
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] in (b"{", b"["):
        return "JSON text"
    if text[:1] == b"<":
        return "XML or HTML text"
    if b"\0" in head:
        return "binary data of no known format"
    return "plain text" if _is_text(head) else "binary data, or text that is not UTF-8"


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3 and error.reason == "unexpected end of data"
    return True
