"""Business rules: expressions in CEL over what a run knows.

The language is the Common Expression Language, <https://github.com/google/cel-spec>, by its reference implementation.
An expression has no loops without end and no side effects; its size, depth and number of iterations are bounded, so
that a rule of a stranger can neither reach out nor go on for ever.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from lakeray.spec.wrong import WrongValue, quoted, unknown

VARIABLES: Final = ("steps", "tables", "run", "arguments", "now")
"""What a rule may speak of: ``steps.<name>.<metric>``, also ``.state`` and ``.output``; ``tables.<name>.<metric>``;
``run.id``, ``.workflow``, ``.tenant``, ``.principal``, ``.labels``; the run's ``arguments``; ``now``, a timestamp."""

_LONGEST = 8_192
_ERROR = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.+)")
_STRANGER = re.compile(r"undeclared reference to '([^']+)'")


@lru_cache(maxsize=1)
def _environment() -> Any:
    # Imported here, as it is 14 MB that only files with a rule have a use for.
    from cel_expr_python import cel  # type: ignore[import-untyped, unused-ignore]

    any_value, text = cel.Type.DYN, cel.Type.STRING
    by_name = cel.Type.Map(text, cel.Type.Map(text, any_value))
    plain = cel.Type.Map(text, any_value)
    types = dict(zip(VARIABLES, (by_name, by_name, plain, plain, cel.Type.TIMESTAMP), strict=True))
    return cel.NewEnv(variables=types)


@lru_cache(maxsize=1024)
def compile_rule(text: str) -> Any:
    """The expression, ready to be evaluated from any thread. Raises WrongValue when it is none, or no condition."""
    if not text.strip() or len(text) > _LONGEST:
        found = f"{len(text)} characters" if text.strip() else "an empty text"
        raise WrongValue(f"expected a CEL expression of at most {_LONGEST} characters", found=found)
    try:
        expression = _environment().compile(text)
    except (RuntimeError, TypeError) as error:  # TypeError: a lone surrogate, which is no text to C++
        raise _wrong(text, str(error)) from None
    kind = expression.return_type().name()
    if kind not in ("BOOL", "DYN"):
        raise WrongValue("expected a condition, which is true or false", found=f"a value of type {kind.lower()}")
    return expression


def _wrong(text: str, message: str) -> WrongValue:
    found = _ERROR.search(message)
    if found is None:
        return WrongValue("expected a CEL expression, of text and not nested too deep", found=quoted(text))
    line, column, said = found.groups()
    stranger = _STRANGER.match(said)
    if stranger is not None and f"{stranger[1]}(" not in text:
        name = stranger[1].partition(".")[0]
        dashed = f"-{name}" in text
        lead = (
            'a name with - stands in brackets, as in steps["a-b"]; a rule speaks of' if dashed else "a rule speaks of"
        )
        return unknown(name, VARIABLES, lead=lead)
    place = f" at character {column}" if "\n" not in text.strip() else f" in its line {line}, character {column}"
    where = place if int(column) > 0 else ""
    return WrongValue(
        f"expected a CEL expression; it fails{where}: {said.partition(' expecting ')[0]}", found=quoted(text)
    )


def checked_rule(text: str) -> str:
    """``text`` itself when it is a rule. Raises WrongValue."""
    compile_rule(text)
    return text
