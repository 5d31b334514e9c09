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

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        return {"$schema": self.schema_dialect, **super().generate(schema, mode)}


def workflow_json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) that every workflow file fulfils, with each key's unit, default and advice.

    It is looser than ``load_workflow``: names that refer to each other, time zones, types and cron expressions are texts to it.
    """
    schema = Workflow.model_json_schema(by_alias=True, schema_generator=_Generator, mode="validation")
    schema["title"] = "lakeray workflow"
    return schema
