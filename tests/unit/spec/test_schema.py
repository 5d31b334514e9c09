"""The JSON Schema for editors says of every key what it is, and marks no right file as wrong."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from lakeray.spec.document import read_document
from lakeray.spec.schema import workflow_json_schema

EXAMPLES = Path(__file__).parents[3] / "examples"
SCHEMA = workflow_json_schema()


def test_it_is_a_schema_of_the_draft_it_names():
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_every_example_fulfils_it(file):
    document = read_document(file.read_text())
    assert not document.problems
    assert not list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(document.data))


def _parts(schema):
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema:
            yield schema
        for inner in schema.values():
            yield from _parts(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _parts(inner)


def test_every_key_says_what_it_is_and_every_part_refuses_unknown_keys():
    parts = list(_parts(SCHEMA))
    assert len(parts) > 30
    for part in parts:
        assert part["additionalProperties"] is False
        assert part["description"]
        for key, said in part["properties"].items():
            assert said.get("description", "").endswith((".", "names.")), (part.get("title"), key)
            assert "\n" not in said["description"]


def test_keys_are_spelt_as_in_the_file():
    assert {"import", "validate"} <= set(SCHEMA["$defs"]["Step"]["properties"])
    assert {"from", "into", "mode"} <= set(SCHEMA["$defs"]["Import"]["properties"])
    assert SCHEMA["$defs"]["Import"]["required"] == ["from", "into"]
