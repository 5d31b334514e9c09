"""The port through which a gate asks a function of the user."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Protocol

from lakeray.gates.facts import Facts
from lakeray.gates.finding import Finding, unknown
from lakeray.gates.judgement import Verdict
from lakeray.spec.gates import PythonCall
from lakeray.transform.hook import load_function

_LONGEST = 500


class Functions(Protocol):
    """Calls functions of the user.

    - ``call`` returns what the function ``module:function`` returns for ``arguments``, with ``facts`` as well when it
      has a parameter of that name.
    - It raises whatever the function raises, or an error of its own when there is no such function, or when the
      caller's tenant may not use it.
    - The function may be called again for the same gate, until its verdict is true or false.
    """

    def call(self, function: str, arguments: Mapping[str, Any], facts: Facts) -> object:
        """What the function returns."""


class NoFunctions:
    """Where user code may not run."""

    def call(self, function: str, arguments: Mapping[str, Any], facts: Facts) -> object:  # noqa: ARG002 - the port's
        """Raises PermissionError."""
        raise PermissionError(function)


class ImportedFunctions:
    """Functions of modules that can be imported here, in this process.

    ``allowed`` names those that may be called; None allows all, which is for people who run their own files alone.
    """

    def __init__(self, allowed: frozenset[str] | None) -> None:
        self.allowed = allowed

    def call(self, function: str, arguments: Mapping[str, Any], facts: Facts) -> object:
        """What the function returns. Raises PermissionError, TransformError when there is none, or its own error."""
        if self.allowed is not None and function not in self.allowed:
            raise PermissionError(function)
        found = load_function(function)
        asked = {"facts": facts} if "facts" in inspect.signature(found).parameters else {}
        return found(**arguments, **asked)


def look_at_function(condition: PythonCall, facts: Facts, functions: Functions) -> Finding:
    """True, or false, with a text in place of false that says what is wrong; anything else is unknown."""
    name = condition.function
    try:
        answer = functions.call(name, condition.arguments, facts)
    except Exception as error:  # noqa: BLE001 - a function that fails has not judged; its message may quote values
        return unknown(f"{name} raised {type(error).__name__}", function=name)
    if isinstance(answer, bool):
        said = f"{name} returned {'true' if answer else 'false'}"
        return Finding(verdict=Verdict.of(answer), said=said, values={"function": name})
    if isinstance(answer, str) and answer.strip():
        shown = answer if len(answer) <= _LONGEST else f"{answer[: _LONGEST - 3]}..."
        return Finding(verdict=Verdict.FALSE, said=f"{name}: {shown}", values={"function": name})
    return unknown(f"{name} returned {type(answer).__name__}, neither true, false nor a text", function=name)
