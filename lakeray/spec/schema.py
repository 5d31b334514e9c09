"""The JSON Schema of the workflow file, for editors."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema

from lakeray.spec.model import Workflow

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Generator(GenerateJsonSchema):
    """Leaves out titles: an editor would show them in place of the keys."""

    schema_dialect = _DIALECT

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the signature is pydantic's
        return False

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        return {"$schema": self.schema_dialect, **_tidied(super().generate(schema, mode))}


def _tidied(schema: Any) -> Any:
    """``schema`` with its descriptions on one line, with names that fit no pattern refused."""
    if isinstance(schema, list):
        return [_tidied(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    tidied = {key: _tidied(value) for key, value in schema.items()}
    if isinstance(tidied.get("description"), str):
        tidied["description"] = " ".join(tidied["description"].split())
    if isinstance(tidied.get("patternProperties"), dict):
        tidied.setdefault("additionalProperties", False)
        tidied.pop("propertyNames", None)
    return tidied


def workflow_json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) that every workflow file fulfils, with each key's unit, default and advice.

    It is looser than ``load_workflow``: names that refer to each other, time zones, types and cron expressions are
    texts to it.
    """
    schema = Workflow.model_json_schema(by_alias=True, schema_generator=_Generator, mode="validation")
    return {**schema, "title": "lakeray workflow"}
