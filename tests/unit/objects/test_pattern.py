"""Source uris: what they list, what they match, which columns they give."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from lakeray.errors import ObjectError, SpecError
from lakeray.objects import LISTING, SourcePattern, hive_columns, is_temporary, without_temporary

MATCHES = [
    # pattern, prefix, matching, not matching
    (
        "s3://b/raw/",
        "s3://b/raw/",
        ["s3://b/raw/a", "s3://b/raw/x/y.json"],
        ["s3://b/raw/", "s3://b/rawer/a", "s3://c/raw/a"],
    ),
    ("s3://b/raw", "s3://b/raw", ["s3://b/raw", "s3://b/raw/a"], ["s3://b/rawer", "s3://b/raw.json"]),
    ("s3://b/", "s3://b/", ["s3://b/a"], ["s3://b/"]),
    ("/d/*.json", "/d/", ["/d/a.json", "/d/.json"], ["/d/x/a.json", "/d/a.jsonl", "/e/a.json"]),
    ("/d/a?.csv", "/d/a", ["/d/ab.csv", "/d/aé.csv", "/d/a😀.csv"], ["/d/a.csv", "/d/a/.csv", "/d/abc.csv"]),
    ("/d/p[0-3].csv", "/d/p", ["/d/p0.csv", "/d/p3.csv"], ["/d/p4.csv", "/d/p-.csv"]),
    ("/d/p[!0-3].csv", "/d/p", ["/d/p4.csv"], ["/d/p0.csv", "/d/p/.csv"]),
    ("/d/p[-a].csv", "/d/p", ["/d/p-.csv", "/d/pa.csv"], ["/d/pb.csv"]),
    ("/d/**/*.json", "/d/", ["/d/a.json", "/d/x/a.json", "/d/x/y/a.json"], ["/d/a.csv", "/da.json"]),
    ("/d/**", "/d/", ["/d/a", "/d/x/y"], ["/e/a"]),
    ("/d/*/", "/d/", ["/d/x/a", "/d/x/y/a"], ["/d/a", "/d/x/"]),
    ("/d/[*][?][[][{]x", "/d/*?[{x", ["/d/*?[{x", "/d/*?[{x/y"], ["/d/aa[{x"]),
    ("/d/a+b (1).json", "/d/a+b (1).json", ["/d/a+b (1).json"], ["/d/aab (1).json"]),
    ("/d/line\nbreak*", "/d/line\nbreak", ["/d/line\nbreak", "/d/line\nbreak\n2"], ["/d/line"]),
    ("/d/日本*", "/d/日本", ["/d/日本語"], ["/d/日"]),
    ("/d/[", "/d/[", ["/d/["], ["/d/a"]),
    ("file:///d/*.csv", "file:///d/", ["file:///d/a.csv"], ["/d/a.csv"]),
    (
        "abfss://c@a.dfs.core.windows.net/r*",
        "abfss://c@a.dfs.core.windows.net/r",
        ["abfss://c@a.dfs.core.windows.net/raw"],
        [],
    ),
]


def page(uris: list[str]) -> pa.RecordBatch:
    now = datetime.now(UTC)
    rows = [{"uri": uri, "size": 1, "etag": None, "version_id": None, "modified_at": now} for uri in uris]
    return pa.RecordBatch.from_pylist(rows, schema=LISTING)


@pytest.mark.parametrize(("uri", "prefix", "yes", "no"), MATCHES)
def test_one_and_many_uris_are_matched_alike(uri: str, prefix: str, yes: list[str], no: list[str]) -> None:
    pattern = SourcePattern.parse(uri)
    assert pattern.prefix == prefix
    assert pattern.root == prefix[: prefix.rindex("/") + 1]
    for each in yes:
        assert pattern.match(each), each
        assert each.startswith(pattern.prefix)
    for each in no:
        assert not pattern.match(each), each
    listed = [each for each in yes + no if each.startswith(prefix) and not each.endswith("/")]
    assert pattern.filter(page(listed))["uri"].to_pylist() == [each for each in listed if pattern.match(each)]


def test_templates_become_columns() -> None:
    pattern = SourcePattern.parse("s3://b/raw/{year}/{month}/sales_{region}_*.csv")
    assert pattern.prefix == "s3://b/raw/"
    assert pattern.names == ("year", "month", "region")
    uri = "s3://b/raw/2024/01/sales_north_east_7.csv"
    assert pattern.columns(uri) == {"year": "2024", "month": "01", "region": "north"}
    many = pattern.captures(pa.array([uri, "s3://b/raw/x"]))
    assert {name: values.to_pylist() for name, values in many.items()} == {
        "year": ["2024", None],
        "month": ["01", None],
        "region": ["north", None],
    }
    assert not pattern.match("s3://b/raw/2024//sales_x_.csv")
    with pytest.raises(ValueError):
        pattern.columns("s3://b/raw/x")


def test_templates_before_a_last_slash_hold_for_everything_below() -> None:
    pattern = SourcePattern.parse("/d/{year}/{month}/")
    assert pattern.columns("/d/2024/02/x/y.json") == {"year": "2024", "month": "02"}


@pytest.mark.parametrize("uri", ["s3://*/raw/", "s3://b{x}/", "/d/{}/", "/d/{a b}/", "/d/{a}/{a}/", "/d/[z-a]"])
def test_what_cannot_be_meant_is_refused(uri: str) -> None:
    with pytest.raises(SpecError) as raised:
        SourcePattern.parse(uri)
    assert raised.value.hint


def test_hive_columns() -> None:
    uri = "/d/t/dt=2024-01-01/city=New%20York%2FX/n=__HIVE_DEFAULT_PARTITION__/empty=/=x/plain/k=v.parquet"
    expected = {"dt": "2024-01-01", "city": "New York/X", "n": None, "empty": ""}
    assert hive_columns(uri, "/d/t") == hive_columns(uri, "/d/t/") == expected
    assert hive_columns("/d/t/x.parquet", "/d/t") == {}
    with pytest.raises(ObjectError):
        hive_columns("/d/tt/x", "/d/t")


TEMPORARY = [
    ".hidden",
    "a/.hidden/b",
    "_SUCCESS",
    "_temporary/0/x.json",
    "a/_delta_log/000.json",
    "_lakeray/m.json",
    "a.tmp",
    "a.TMP",
    "x/a.json.part",
    "a.crdownload",
    "a.json~",
    "a.json._COPYING_",
    ".lakeray-tmp-12",
    "a.inprogress",
    "a\nb.tmp",
]
DATA = [
    "a",
    "a_b",
    "a/b_",
    "part-0",
    "_k=1/x.json",
    "a.b/c",
    "a.tmp.json",
    "tmp",
    "a/part",
    "é.json",
    "a.tmp/b",
    "~a",
    "x=_y/z",
    "a.tmp\n",
]


def test_temporary_names() -> None:
    for name in TEMPORARY:
        assert is_temporary(name), name
    for name in DATA:
        assert not is_temporary(name), name


def test_temporary_names_are_left_out_of_pages_alike() -> None:
    root = "/_lake/.x/é/"
    kept = without_temporary(page([root + name for name in TEMPORARY + DATA]), root)
    assert kept["uri"].to_pylist() == [root + name for name in DATA]
