"""The JSON Schema that a source declares, read from the file that it may stand in, and found to be one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lakeray.spec.sources import Source
from lakeray.spec.wrong import WrongValue, quoted

MAX_BYTES = 4 * 2**20


def with_schema(source: Source, folder: Path) -> Source:
    """``source`` with the schema itself in place of its file's name, relative to ``folder``. Raises WrongValue."""
    declared = source.declared_schema
    if declared is None or declared.json_schema is None:
        return source
    schema: Any = declared.json_schema
    if isinstance(schema, str):
        schema = _content(folder / Path(schema).expanduser(), schema)
    _check(schema)
    return source.model_copy(update={"declared_schema": declared.model_copy(update={"json_schema": schema})})


def _content(path: Path, name: str) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise WrongValue(f"expected a file of at most {MAX_BYTES} bytes", found=quoted(name))
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise WrongValue(f"expected a file that can be read: {error.strerror}", found=quoted(name)) from None
    except ValueError:
        raise WrongValue("expected a file that holds a JSON Schema", found=quoted(name)) from None
    if not isinstance(found, dict):
        raise WrongValue("expected a file whose JSON is an object", found=quoted(name))
    return found


def _check(schema: dict[str, Any]) -> None:
    from jsonschema.exceptions import SchemaError  # type: ignore[import-untyped]  # it ships no types
    from jsonschema.validators import Draft202012Validator, validator_for  # type: ignore[import-untyped]  # it ships no types

    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        place = ".".join(str(part) for part in error.absolute_path) or "its top"
        raise WrongValue(f"expected a correct JSON Schema: {error.message}", found=f"at {place}") from None
