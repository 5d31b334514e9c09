"""Functions of the user as steps of a run: called with what they ask for, answered with JSON, failing with a name."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from lakeray.errors import LakerayError
from lakeray.runtime.durable.context import StepContext
from lakeray.transform.hook import load_function
from lakeray.workflow.events import Failure

LARGEST_OUTPUT = 32 * 2**10
"""Bytes of JSON that an output may have; what is larger belongs into the lake, and its uri into the output."""
_LONGEST_MESSAGE = 2_000


class WrongOutput(LakerayError):
    """What a function returned cannot be kept in the run's history."""

    code = "wrong_output"


def call(function: str, *values: Any, arguments: Mapping[str, Any], offered: Mapping[str, Any]) -> Any:
    """What ``module:function`` returns for ``values`` and ``arguments``, with those ``offered`` that it has names for.

    A coroutine is run to its end. Raises whatever it raises, and TransformError when there is no such function.
    """
    found = load_function(function)
    extra = {name: value for name, value in offered.items() if name in _parameters(found)}
    result = found(*values, **{**extra, **arguments})
    return asyncio.run(result) if inspect.iscoroutine(result) else result


@lru_cache(maxsize=256)
def _parameters(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Of a function, by name: none of a builtin without a signature."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def call_step(function: str, *values: Any, arguments: Mapping[str, Any], context: StepContext) -> Any:
    """The function's output as JSON values. Raises WrongOutput for what is none, or too much."""
    return checked(call(function, *values, arguments=arguments, offered={"context": context}), function)


def checked(output: Any, function: str) -> Any:
    """The output as plain values. Raises WrongOutput."""
    try:
        data = msgspec.json.encode(output)
    except (TypeError, ValueError, RecursionError) as error:
        raise WrongOutput(f"{function} returned what is no JSON: {error}", hint="return plain values") from error
    if len(data) > LARGEST_OUTPUT:
        raise WrongOutput(
            f"{function} returned {len(data):,} bytes of JSON, more than the {LARGEST_OUTPUT:,} that a run keeps",
            hint="write it to the lake and return where it is",
        )
    return msgspec.json.decode(data)


def failure_of(error: BaseException) -> Failure:
    """An error as a run keeps it. Of one that is not lakeray's own, the code is its class: `retry` names it by that."""
    if isinstance(error, LakerayError):
        return Failure(
            code=error.code,
            message=error.message[:_LONGEST_MESSAGE],
            hint=error.hint,
            uri=error.uri,
            retryable=error.retryable,
        )
    text = str(error)[:_LONGEST_MESSAGE]
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return Failure(code=type(error).__name__, message=said)
