"""Text from outside, made harmless to show."""

from __future__ import annotations

import re
import unicodedata

# Cc controls (escape sequences, newlines), Cf formats (bidirectional overrides, zero widths), Cs lone surrogates from
# undecodable file names, Zl and Zp line breaks: none of these may steer a terminal, a table or a page.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_USER_IN_URL = re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
_JOINER = "\N{ZERO WIDTH JOINER}"


def visible(text: object, limit: int | None = None) -> str:
    """``text`` on one line with every control, format or undecodable character spelled out.

    With ``limit``, a longer text keeps its beginning and its end around an ellipsis (object names differ at their end).
    """
    raw = str(text)
    shown = raw if raw.isascii() and raw.isprintable() else "".join(map(_spelled, raw))
    if limit is None or len(shown) <= limit:
        return shown
    head = (limit - 1) // 2
    return f"{shown[:head]}…{shown[len(shown) - (limit - 1 - head) :]}"


def _spelled(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if unicodedata.category(char) not in _HIDDEN or char == _JOINER:
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004


def without_credentials(text: str) -> str:
    """``text`` with user and password of every url in it hidden."""
    return _USER_IN_URL.sub("(hidden)", text)
