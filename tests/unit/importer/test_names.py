"""Names by rule are the same in every batch and every order of objects, and two that become one lose no value."""

from __future__ import annotations

import itertools
import json

import pytest

from lakeray.transform.names import snake_case
from tests.unit.importer.small_lake import SmallLake, lines


@pytest.fixture
def lake(tmp_path):
    return SmallLake(tmp_path, source={"names": "snake_case"})


def by_id(lake, *columns):
    return {row["id"]: tuple(row.get(name) for name in columns) for row in lake.rows()}


NAMES = {
    "Order ID": "order_id",
    "orderId": "order_id",
    "order-id": "order_id",
    " order__id ": "order_id",
    "HTTPServer": "http_server",
    "v2Beta": "v2_beta",
    "Prénom": "prenom",
    "_id": "id",
    "1st": "_1st",
    "a.b;c": "a_b_c",
    "名前": "名前",
    "%%": "x3a6e1a1b",
    "already_snake": "already_snake",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_rule(name):
    assert snake_case(name) == NAMES[name]
    assert snake_case(snake_case(name)) == snake_case(name)


OBJECTS = {
    "a.json": {"ID": 1, "Unit Price": 1.5, "Customer": {"First Name": "Ann", "tags": [{"Key-1": "x"}]}},
    "b.json": {"id": 2, "unit_price": 2.5, "customer": {"firstName": "Bob", "tags": [{"key_1": "y"}]}},
    "c.json": {"Id": 3, "UnitPrice": 3.5, "CUSTOMER": {"FIRST_NAME": "Cy", "Tags": [{"KEY 1": "z"}]}},
}


@pytest.mark.parametrize("order", list(itertools.permutations(OBJECTS)))
@pytest.mark.parametrize("alone", [True, False])
def test_the_same_names_in_every_order_of_objects(lake, order, alone):
    for name in order:
        lake.put(name, lines(OBJECTS[name]))
        if alone:
            lake.run()
    lake.run()
    assert sorted(lake.schema()) == ["customer", "id", "unit_price"]
    assert by_id(lake, "unit_price", "customer") == {
        1: (1.5, {"first_name": "Ann", "tags": [{"key_1": "x"}]}),
        2: (2.5, {"first_name": "Bob", "tags": [{"key_1": "y"}]}),
        3: (3.5, {"first_name": "Cy", "tags": [{"key_1": "z"}]}),
    }


def test_two_names_that_become_one_keep_both_values(lake):
    lake.put("a.json", lines({"id": 1, "a b": 1}, {"id": 2, "a b": 1, "a-b": 2}, {"id": 3, "A_B": "text"}))
    lake.put("b.json", lines({"id": 4, "s": {"x": 1, "X": 2}}, {"id": 5, "s": {"X": 3}}))
    lake.run()
    found = {key: (a, s, r and json.loads(r)) for key, (a, s, r) in by_id(lake, "a_b", "s", "_rescued_data").items()}
    kept = {key: {str(value) for value in (a, *(r or {}).values()) if value} for key, (a, _, r) in found.items()}
    assert (kept[1], kept[2], kept[3]) == ({"1"}, {"1", "2"}, {"text"})
    assert found[4] == (None, {"x": 2}, {"s": {"x": 1, "X": 2}})
    assert found[5] == (None, {"x": 3}, None)


def test_a_csv_header_twice_is_two_columns(lake):
    lake.source = {"names": "snake_case", "format": "csv"}
    lake.put("a.csv", b"ID,Amount,Amount\n1,2,3\n")
    lake.run()
    assert by_id(lake, "amount", "amount_2") == {1: (2, 3)}


def test_exact_texts_survive_a_renamed_column(lake):
    """A time travels as the text that was written, under whatever name the source has for it."""
    lake.source = {"names": "snake_case", "schema_hints": {"event_text": "string"}}
    exact = b'{"id": %d, "Event Text": "2024-01-02T03:04:05.000+00:00"}\n'
    lake.put("a.json", exact % 1)
    lake.run()
    lake.put("b.json", exact % 2)
    lake.run()
    assert by_id(lake, "event_text") == dict.fromkeys((1, 2), ("2024-01-02T03:04:05.000+00:00",))


def test_folders_and_expressions_use_the_new_names(lake):
    lake.step = {"select": {"twice": "unit_price * 2"}, "where": "event_date IS NOT NULL"}
    lake.put("Event Date=2024-01-02/a.json", lines({"id": 1, "Unit Price": 2}))
    lake.run()
    assert {key: (str(day), twice) for key, (day, twice) in by_id(lake, "event_date", "twice").items()} == {
        1: ("2024-01-02", 4)
    }
