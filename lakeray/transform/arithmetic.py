"""Integer arithmetic that never wraps around.

DataFusion's ``+``, ``-`` and ``*`` on integers wrap silently. Expressions are rewritten to these functions: the
checked ones raise, the lenient ones give null where the result does not fit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datafusion import SessionContext, udf

_CHECKED: dict[str, Callable[..., Any]] = {
    "add": pc.add_checked,
    "subtract": pc.subtract_checked,
    "multiply": pc.multiply_checked,
}
_WRAPPING: dict[str, Callable[..., Any]] = {"add": pc.add, "subtract": pc.subtract, "multiply": pc.multiply}
SQL_TYPES: dict[pa.DataType, str] = {
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INT",
    pa.int64(): "BIGINT",
    pa.uint8(): "TINYINT UNSIGNED",
    pa.uint16(): "SMALLINT UNSIGNED",
    pa.uint32(): "INT UNSIGNED",
    pa.uint64(): "BIGINT UNSIGNED",
}


def register(context: SessionContext) -> None:
    """Add the functions to a context, under names that ``function`` gives."""
    for kind in SQL_TYPES:
        for operation in _CHECKED:
            for lenient in (False, True):
                work = partial(_lenient if lenient else _checked, operation)
                name = function(operation, kind, lenient=lenient)
                context.register_udf(udf(work, [kind, kind], kind, "immutable", name))


def function(operation: str, kind: pa.DataType, *, lenient: bool) -> str:
    """The name of one of the functions."""
    return f"__{'lenient' if lenient else 'checked'}_{operation}_{kind}"


def _checked(operation: str, left: pa.Array, right: pa.Array) -> pa.Array:
    return _CHECKED[operation](left, right)


def _lenient(operation: str, left: pa.Array, right: pa.Array) -> pa.Array:
    try:
        return _CHECKED[operation](left, right)
    except pa.ArrowInvalid:
        pass
    wrapped = _WRAPPING[operation](left, right)
    about = _WRAPPING[operation](left.cast(pa.float64(), safe=False), right.cast(pa.float64(), safe=False))
    away = pc.abs(pc.subtract(about, wrapped.cast(pa.float64(), safe=False)))
    half_a_turn = 2.0 ** (wrapped.type.bit_width - 1)  # a wrapped result is off by whole turns, a float by far less
    return pc.if_else(pc.greater(away, half_a_turn), pa.scalar(None, wrapped.type), wrapped)
