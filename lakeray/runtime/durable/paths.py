"""Values inside of steps' outputs, by the path that a map's ``over`` names."""

from __future__ import annotations

import re
from typing import Any

from lakeray.errors import SpecError
from lakeray.workflow.state import RunState, output_of

_PATH = re.compile(r"steps(?:\.([A-Za-z_]\w*)|\[[\"']([\w-]+)[\"']\])(?:\.output)?((?:\.[A-Za-z_]\w*)*)")


def items_at(path: Any, state: RunState) -> list[Any]:
    """The list at ``steps.<name>``, ``steps.<name>.output`` or deeper: ``steps.find.output.files``.

    Raises SpecError, which trying again cannot help, for anything else.
    """
    if isinstance(path, list):
        return path
    found = _PATH.fullmatch(str(path).strip())
    if found is None or (found[1] or found[2]) not in state.steps:
        raise SpecError(f"{path!r} names no step's output", hint="as in steps.find.output.files")
    value = output_of(state.steps[found[1] or found[2]])
    for key in filter(None, (found[3] or "").split(".")):
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, list):
        raise SpecError(f"{path} is {type(value).__name__}, a map needs a list", hint="have the step return one")
    return value
