"""deltalake reaches a table by the uri and the variables that the object store uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from lakeray.errors import UnsupportedTable
from lakeray.objects import delta_uri, join, open_store, storage_options
from tests.servers import AzureServer

NAMES = ["plain", "with space", "100%", "a+b=c&d", "ünï/日本", "hash#q", "ques?tion"]


@pytest.mark.parametrize("name", NAMES)
def test_a_table_lies_where_its_uri_says(lake_root: str, name: str) -> None:
    uri = join(lake_root, "tables", name)
    for number in range(2):
        write_deltalake(delta_uri(uri), pa.table({"n": [number]}), mode="append", storage_options=storage_options(uri))
    table = DeltaTable(delta_uri(uri), storage_options=storage_options(uri))
    assert table.version() == 1
    listed = [row for page in open_store(uri).list(uri + "/") for row in page["uri"].to_pylist()]
    assert [each for each in listed if each.endswith(".json")] == [
        join(uri, "_delta_log", f"{version:020}.json") for version in range(2)
    ]
    assert sorted(each for each in listed if each.endswith(".parquet")) == sorted(
        join(uri, path) for path in pa.table(table.get_add_actions(flatten=True))["path"].to_pylist()
    )


def test_deltalake_still_takes_a_percent_sign_for_an_escape(tmp_path: Path) -> None:
    """When this fails, delta-rs has learnt it, and ``delta_uri`` need not refuse such a table any more."""
    with pytest.raises(UnsupportedTable, match="%20"):
        delta_uri(f"{tmp_path}/per%20cent")
    with pytest.raises(DeltaError, match="not found"):
        write_deltalake(tmp_path / "per%20cent", pa.table({"n": [1]}))


def test_a_log_entry_that_the_store_created_is_seen_by_deltalake(lake_root: str) -> None:
    uri = join(lake_root, "t")
    options = storage_options(uri)
    write_deltalake(delta_uri(uri), pa.table({"n": [1]}), storage_options=options)
    store = open_store(uri)
    store.create(join(uri, "_delta_log", f"{1:020}.json"), b'{"txn":{"appId":"a","version":7,"lastUpdated":0}}\n')
    assert DeltaTable(delta_uri(uri), storage_options=options).transaction_version("a") == 7


def test_local_tables_need_no_options_whatever_their_scheme(tmp_path: Path) -> None:
    assert storage_options(f"file://{tmp_path}/t") == {}
    assert delta_uri(f"file://{tmp_path}/a b") == f"{tmp_path}/a b"


@pytest.mark.azure
@pytest.mark.parametrize("scheme", ["abfss", "abfs"])
def test_full_azure_uris_reach_the_emulator_too(
    azure_server: AzureServer, cloud_environment: Callable[[dict[str, str]], None], scheme: str
) -> None:
    """The account stands in the uri; the variables say that its endpoint is the emulator's."""
    cloud_environment(azure_server.env)
    container = azure_server.new_bucket().split("/")[2]
    root = f"{scheme}://{container}@devstoreaccount1.dfs.core.windows.net/"
    store = open_store(root)
    store.create(root + "a/b c", b"x")
    assert store.read(f"az://{container}/a/b c") == b"x"
    assert [row for page in store.list(root) for row in page["uri"].to_pylist()] == [root + "a/b c"]
    write_deltalake(delta_uri(root + "t t"), pa.table({"n": [1]}), storage_options=storage_options(root + "t t"))
    assert DeltaTable(delta_uri(root + "t t"), storage_options=storage_options(root)).version() == 0
