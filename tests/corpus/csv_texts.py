"""Delimited texts in the manner of csv-spectrum, then worse ones."""

from __future__ import annotations

from pathlib import Path

from tests.corpus.case import Case, Expect, write

_Text = tuple[bytes, Expect, int | None, int | None]

_SPECTRUM: dict[str, _Text] = {
    "simple": (b"a,b,c\n1,2,3\n", "rows", 1, 0),
    "simple_crlf": (b"a,b,c\r\n1,2,3\r\n", "rows", 1, 0),
    "simple_cr": (b"a,b,c\r1,2,3\r4,5,6\r", "rows", 2, 0),
    "comma_in_quotes": (
        b'first,last,address\nJohn,Doe,"120 any st.,\nAnytown, WW",\n'.replace(b'",\n', b'"\n'),
        "rows",
        1,
        0,
    ),
    "empty": (b'a,b,c\n1,"",""\n2,3,4\n', "rows", 2, 0),
    "empty_crlf": (b'a,b,c\r\n1,"",""\r\n2,3,4\r\n', "rows", 2, 0),
    "escaped_quotes": (b'a,b\n1,"ha ""ha"" ha"\n3,4\n', "rows", 2, 0),
    "json": (b'key,val\n1,"{""type"": ""Point"", ""coordinates"": [102.0, 0.5]}"\n', "rows", 1, 0),
    "location_coordinates": (b'Contact,Coordinates\n"1001 1st ave",",,,"\n', "rows", 1, 0),
    "newlines": (b'a,b,c\n1,2,3\n"Once upon \na time",5,6\n7,8,9\n', "rows", 3, 0),
    "newlines_crlf": (b'a,b,c\r\n1,2,3\r\n"Once upon \r\na time",5,6\r\n7,8,9\r\n', "rows", 3, 0),
    "quotes_and_newlines": (b'a,b\n1,"ha \n""ha"" \nha"\n3,4\n', "rows", 2, 0),
    "utf8": ("a,b,c\n1,2,3\n4,5,ʤ\n".encode(), "rows", 2, 0),
}

_HOSTILE: dict[str, _Text] = {
    "no_bytes": (b"", "rows", 0, 0),
    "only_newlines": (b"\n\n\n", "rows", 0, 0),
    "only_header": (b"a,b,c\n", "rows", 0, 0),
    "only_header_without_newline": (b"a,b,c", "rows", 0, 0),
    "no_last_newline": (b"a,b\n1,2", "rows", 1, 0),
    "bom": (b"\xef\xbb\xbfa,b\n1,2\n", "rows", 1, 0),
    "blank_lines": (b"a,b\n\n1,2\n\r\n3,4\n\n", "rows", 2, 0),
    "duplicate_headers": (b"a,a,,a_2,\n1,2,3,4,5\n", "rows", 1, 0),
    "too_few_columns": (b"a,b\n1,2\n3\n5,6\n", "refused", 2, 1),
    "too_many_columns": (b"a,b\n1,2\n3,4,5\n5,6\n", "refused", 2, 1),
    "ragged": (b"a,b,c\n1\n1,2\n1,2,3\n1,2,3,4\n", "refused", 1, 3),
    "line_of_spaces": (b"a,b\n1,2\n   \n3,4\n", "refused", 2, 1),
    "stray_quote": (b'a,b\n5" pipe,x\n1,2\n', "rows", 2, 0),
    "stray_quotes_in_two_rows": (b'a,b\n5" pipe,x\n6" pipe,"y\nz"\n1,2\n', "rows", 3, 0),
    "text_after_quote": (b'a,b\n"x"y,1\n1,2\n', "refused", 1, 1),
    "unended_quote": (b'a,b\n1,"x\n2,y\n3,z\n', "refused", 2, 1),
    "unended_quote_then_quoted": (b'a,b\n1,"x\n2,"y"\n3,z\n', "refused", 2, 1),
    "unended_quote_last": (b'a,b\n1,2\n3,"x', "refused", 1, 1),
    "only_quote": (b'a,b\n1,2\n"\n3,4\n', "refused", 2, 1),
    "space_before_quote": (b'a,b\n1, "x"\n', "rows", 1, 0),
    "nul": (b"a,b\n1,\x00\n", "rows", 1, 0),
    "invalid_utf8": (b"a,b\n1,2\n3,\xff\n5,6\n", "refused", 2, 1),
    "latin1_read_as_utf8": ("a,b\n1,é\n2,x\n".encode("latin-1"), "refused", 1, 1),
    "mixed_encodings": (b"a,b\n1," + "é".encode() + b"\n2," + "é".encode("latin-1") + b"\n", "refused", 1, 1),
    "mixed_line_ends": (b"a,b\n1,2\r\n3,4\r5,6\n", "rows", 3, 0),
    "carriage_return_in_quotes": (b'a,b\n1,"x\ry"\n', "rows", 1, 0),
    "single_column": (b"a\n1\n2\n", "rows", 2, 0),
    "single_column_quoted_empty": (b'a\n""\n2\n', "rows", 2, 0),
    "many_columns": (
        b",".join(b"c%d" % i for i in range(2000)) + b"\n" + b",".join([b"1"] * 2000) + b"\n",
        "rows",
        1,
        0,
    ),
    "header_with_newline": (b'"a\nb",c\n1,2\n', "rows", 1, 0),
    "header_unended_quote": (b'"a,b\n1,2\n', "error", 0, 0),
    "header_invalid_utf8": (b"a\xff,b\n1,2\n", "error", 0, 0),
    "json_by_mistake": (b'{"a":1,"b":2}\n{"a":1,"b":3}\n', "any", None, None),
    "only_delimiters": (b"a,b\n,\n,\n", "rows", 2, 0),
    "formula": (b"a,b\n=1+1,@x\n", "rows", 1, 0),
}

_DIALECTS: dict[str, tuple[bytes, dict[str, object], int]] = {
    "semicolon": (b"a;b\n1;2,5\n", {"delimiter": ";"}, 1),
    "pipe": (b"a|b\n1|2\n", {"delimiter": "|"}, 1),
    "tab_named": (b"a\tb\n1\t2\n", {"delimiter": "tab"}, 1),
    "single_quote": (b"a,b\n1,'x,y'\n", {"quote": "'"}, 1),
    "no_quote": (b'a,b\n1,"x\n2,y"\n', {"quote": None}, 2),
    "backslash_escape": (b'a,b\n1,"x\\"y"\n2,x\\,y\n', {"escape": "\\"}, 2),
    "no_header": (b"1,2\n3,4\n", {"header": False}, 2),
    "names": (b"1,2\n3,4\n", {"header": False, "names": ["x", "y"]}, 2),
    "skip_lines": (b"report\n\na,b\n1,2\n", {"skip_lines": 2}, 1),
    "nulls": (b"a,b\nNULL,2\n", {"null_values": ["", "NULL"]}, 1),
    "columns": (b"a,b,c\n1,2,3\n", {"columns": ["a", "c"]}, 1),
}


def build(folder: Path) -> list[Case]:
    """Every text as a CSV object, some dialects as options, some encodings."""
    cases = []
    for group, texts in (("spectrum", _SPECTRUM), ("hostile", _HOSTILE)):
        for name, (data, expect, rows, refused) in texts.items():
            path = write(folder / group, f"{name}.csv", data)
            case = Case(name=f"csv/{group}/{name}", format="csv", path=path, expect=expect, rows=rows, refused=refused)
            cases.append(case)
    for name, (data, options, rows) in _DIALECTS.items():
        path = write(folder / "dialects", f"{name}.csv", data)
        cases.append(
            Case(
                name=f"csv/dialect/{name}",
                format="csv",
                path=path,
                expect="rows",
                rows=rows,
                refused=0,
                options={"options": options},
            )
        )
    path = write(folder, "simple.tsv", b"a\tb\n1\t2,3\n")
    cases.append(Case(name="tsv/simple", format="tsv", path=path, expect="rows", rows=1, refused=0))
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "latin-1", "cp1252"):
        path = write(folder / "encodings", f"{encoding}.csv", 'a,b\n1,"Zoë\nÜ"\n2,x\n'.encode(encoding))
        name, options = f"csv/encoding/{encoding}", {"encoding": encoding}
        cases.append(Case(name=name, format="csv", path=path, expect="rows", rows=2, refused=0, options=dict(options)))
    return cases
