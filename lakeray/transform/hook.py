"""The user's own function from an Arrow table to an Arrow table, behind one boundary."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pyarrow as pa

from lakeray.errors import TransformError


class Hook:
    """``module:function``, called once a chunk (and once with an empty table, to learn its columns).

    The function takes the table; when it has parameters called ``now`` or ``seed`` it also gets the batch's timestamp
    and seed, so that a repeated batch gives the same rows. Whatever it raises is a TransformError that names the
    function and the error's type.
    """

    def __init__(self, reference: str, *, now: datetime, seed: int) -> None:
        self.reference = reference
        self._function = load_function(reference)
        self._extra = _asked_for(self._function, {"now": now, "seed": seed})

    def __call__(self, table: pa.Table) -> pa.Table:
        """The table that the function makes of ``table``."""
        try:
            made = self._function(table, **self._extra)
        except Exception as error:
            raise TransformError(
                f"the hook {self.reference} raised {type(error).__name__}",
                hint="the error is the hook's own; its message is left out because it may quote values",
            ) from error
        if isinstance(made, pa.RecordBatch):
            made = pa.Table.from_batches([made])
        if not isinstance(made, pa.Table):
            raise TransformError(
                f"the hook {self.reference} returned {type(made).__name__}",
                hint="it must return a pyarrow.Table",
            )
        return made


def load_function(reference: str) -> Callable[..., Any]:
    """The function that ``module:function`` names. Raises TransformError when there is none."""
    module_name, _, name = reference.partition(":")
    if not module_name or not name:
        raise TransformError(f"the hook {reference!r} is not module:function", hint="as in my_module:clean")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise TransformError(
            f"the hook {reference!r}: importing {module_name} raised {type(error).__name__}: {error}",
            hint="the module must be importable by every worker",
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise TransformError(f"the hook {reference!r}: {module_name} has no function {name}")
    found: Callable[..., Any] = function
    return found


def _asked_for(function: Callable[..., Any], offered: dict[str, Any]) -> dict[str, Any]:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return {}
    return {name: value for name, value in offered.items() if name in parameters}
