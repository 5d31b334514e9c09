"""JSON texts in the manner of JSONTestSuite: y_ must be read, n_ must be refused, i_ may be either.

Every text is one line between two good ones, so that a bad one must cost itself alone.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.corpus.case import Case, Expect, write

# Values that stand as {"v": <text>}.
_GOOD_VALUES = {
    "array_empty": b"[]",
    "array_of_null": b"[null]",
    "array_null_then_number": b"[null, 1]",
    "array_null_then_object": b'[null, {"x": null}]',
    "array_nested": b"[[[[[1]]]]]",
    "array_with_several_null": b"[1,null,null,null,2]",
    "array_heterogeneous": b'[null, 1, "1", {}]',
    "array_mixed_numbers": b"[1, 2.5]",
    "array_ending_with_space": b"[1 ]",
    "array_with_tabs": b"[\t1\t,\t2\t]",
    "number_zero": b"0",
    "number_minus_zero": b"-0",
    "number_int": b"123",
    "number_negative": b"-123",
    "number_int64_max": b"9223372036854775807",
    "number_int64_min": b"-9223372036854775808",
    "number_above_int64": b"9223372036854775808",
    "number_huge_int": b"123456789012345678901234567890",
    "number_real": b"123.456789",
    "number_real_exponent": b"123.456e78",
    "number_real_fraction_exponent": b"1.5E-2",
    "number_capital_e_plus": b"1E+2",
    "number_zero_exponent": b"0e+1",
    "number_negative_real": b"-1.5",
    "number_tiny": b"1e-400",
    "number_many_digits": b"0.1234567890123456789012345678901234567890",
    "number_double_limits": b"1.7976931348623157e308",
    "object_empty": b"{}",
    "object_nested": b'{"a": {"b": {"c": 1}}}',
    "object_empty_key": b'{"": 0}',
    "object_dotted_key": b'{"a.b": 0}',
    "object_slash_key": b'{"a/b": 0}',
    "object_escaped_null_in_key": b'{"foo\\u0000bar": 42}',
    "object_long_strings": b'{"x": [{"id": "' + b"x" * 300 + b'"}]}',
    "object_unicode_key": '{"ключ": 1}'.encode(),
    "string_empty": b'""',
    "string_1_2_3_byte_utf8": b'"\\u0060\\u012a\\u12AB"',
    "string_surrogate_pair": b'"\\uD801\\udc37"',
    "string_surrogate_pairs": b'"\\ud83d\\ude39\\ud83d\\udc8d"',
    "string_all_escapes": b'"\\"\\\\\\/\\b\\f\\n\\r\\t"',
    "string_backslash_and_u_zero": b'"\\\\u0000"',
    "string_double_escape_a": b'"\\\\a"',
    "string_double_escape_n": b'"\\\\n"',
    "string_escaped_control": b'"\\u0012"',
    "string_escaped_nul": b'"\\u0000"',
    "string_escaped_newline": b'"new\\u000Aline"',
    "string_escaped_noncharacter": b'"\\uFFFF"',
    "string_raw_noncharacter": '"\uffff"'.encode(),
    "string_last_plane": '"\U0010ffff"'.encode(),
    "string_del": b'"\x7f"',
    "string_line_separators": '"\u2028\u2029"'.encode(),
    "string_unescaped_utf8": '"€𝄞"'.encode(),
    "string_comment_inside": b'"a/*b*/c//d"',
    "string_brackets_inside": b'"]}[{,"',
    "string_escaped_quote_then_bracket": b'"\\"]}"',
    "string_ends_with_backslash": b'"\\\\"',
    "string_iso_date": b'"2020-01-01"',
    "string_iso_timestamp": b'"2020-01-01T00:00:00Z"',
    "string_iso_timestamp_space": b'"2020-01-01 00:00:00"',
    "string_like_number": b'"0012"',
    "string_spaces": b'"  "',
    "true": b"true",
    "false": b"false",
    "null": b"null",
}

# Values whose line must be refused.
_BAD_VALUES = {
    "array_1_true_without_comma": b"[1 true]",
    "array_colon_instead_of_comma": b'["": 1]',
    "array_comma_after_close": b'[""],',
    "array_comma_and_number": b"[,1]",
    "array_double_comma": b"[1,,2]",
    "array_double_extra_comma": b'["x",,]',
    "array_extra_close": b'["x"]]',
    "array_extra_comma": b'["",]',
    "array_incomplete": b'["x"',
    "array_inner_without_comma": b"[3[4]]",
    "array_just_comma": b"[,]",
    "array_just_minus": b"[-]",
    "array_missing_value": b"[   , 1]",
    "array_star_inside": b"[*]",
    "array_unclosed": b"[1,",
    "array_unclosed_object": b"[{}",
    "array_mismatched": b"[1}",
    "incomplete_false": b"fals",
    "incomplete_null": b"nul",
    "incomplete_true": b"tru",
    "capital_true": b"True",
    "capital_null": b"NULL",
    "undefined": b"undefined",
    "none": b"None",
    "nothing": b"",
    "number_plus_plus": b"++1234",
    "number_plus_1": b"+1",
    "number_plus_inf": b"+Inf",
    "number_minus_01": b"-01",
    "number_minus_1_0_dot": b"-1.0.",
    "number_minus_2_dot": b"-2.",
    "number_minus_nan": b"-NaN",
    "number_dot_minus_1": b".-1",
    "number_dot_2e_minus_3": b".2e-3",
    "number_0_1_2": b"0.1.2",
    "number_0_3e_plus": b"0.3e+",
    "number_0_3e": b"0.3e",
    "number_0_dot_e1": b"0.e1",
    "number_0_capital_e": b"0E",
    "number_1_0e_minus": b"1.0e-",
    "number_1_000": b"1 000.0",
    "number_1_e_e_2": b"1eE2",
    "number_2_dot_e_3": b"2.e3",
    "number_9_dot_e_plus": b"9.e+",
    "number_inf": b"Inf",
    "number_nan_lower": b"nan",
    "number_expression": b"1+2",
    "number_hex_1_digit": b"0x1",
    "number_hex_2_digits": b"0x42",
    "number_invalid_plus_minus": b"0e+-1",
    "number_with_leading_zero": b"012",
    "number_with_alpha": b"1.2a-3",
    "number_with_underscore": b"1_000",
    "number_minus_foo": b"-foo",
    "number_minus_space_1": b"- 1",
    "number_fullwidth_digit": "\uff11".encode(),
    "number_real_without_int": b".123",
    "number_real_without_fraction": b"1.",
    "number_then_garbage": b"1.8011670033376514H-308",
    "object_bad_value": b'["x", truth]',
    "object_bracket_key": b'{[: "x"}',
    "object_comma_instead_of_colon": b'{"x", null}',
    "object_double_colon": b'{"x"::"b"}',
    "object_emoji": "{🇨🇭}".encode(),
    "object_garbage_at_end": b'{"a":"a" 123}',
    "object_key_with_single_quotes": b"{key: 'value'}",
    "object_lone_continuation_byte": b'{"\xb9":"0"}',
    "object_missing_colon": b'{"a" b}',
    "object_missing_key": b'{:"b"}',
    "object_missing_semicolon": b'{"a" "b"}',
    "object_missing_value": b'{"a":',
    "object_no_colon": b'{"a"',
    "object_non_string_key": b"{1:1}",
    "object_repeated_null_null": b"{null:null,null:null}",
    "object_several_trailing_commas": b'{"id":0,,,,,}',
    "object_single_quote": b"{'a':0}",
    "object_trailing_comma": b'{"id":0,}',
    "object_trailing_comment": b'{"a":"b"}/**/',
    "object_trailing_slash_comment": b'{"a":"b"}//',
    "object_two_commas": b'{"a":"b",,"c":"d"}',
    "object_unquoted_key": b'{a: "b"}',
    "object_unterminated_value": b'{"a":"a',
    "object_with_single_string": b'{ "foo" : "bar", "a" }',
    "object_twice_the_same_key": b'{"a":1,"a":2}',
    "string_1_surrogate_then_escape": b'"\\uD800\\"',
    "string_1_surrogate_u": b'"\\uD800\\u"',
    "string_1_surrogate_u1x": b'"\\uD800\\u1x"',
    "string_lone_high_surrogate": b'"\\uD800"',
    "string_lone_low_surrogate": b'"\\uDC00"',
    "string_inverted_surrogates": b'"\\uDC00\\uD800"',
    "string_accentuated_char_no_quotes": "é".encode(),
    "string_backslash_00": b'"\\\x00"',
    "string_escape_x": b'"\\x00"',
    "string_escaped_backslash_bad": b'"\\\\\\"',
    "string_escaped_ctrl_tab": b'"\\\t"',
    "string_escaped_emoji": '"\\🌀"'.encode(),
    "string_incomplete_escape": b'"\\',
    "string_incomplete_escaped_character": b'"\\u00A"',
    "string_invalid_escape": b'"\\a"',
    "string_invalid_unicode_escape": b'"\\uqqqq"',
    "string_invalid_utf8": b'"\xff"',
    "string_invalid_utf8_after_escape": b'"\\\xe5"',
    "string_latin1": b'"\xe9"',
    "string_overlong_utf8": b'"\xc0\xaf"',
    "string_overlong_utf8_6_bytes": b'"\xfc\x83\xbf\xbf\xbf\xbf"',
    "string_truncated_utf8": b'"\xe0\xff"',
    "string_utf8_surrogate": b'"\xed\xa0\x80"',
    "string_above_unicode": b'"\xf4\xbf\xbf\xbf"',
    "string_leading_uescaped_quote": b'\\u0020"asd"',
    "string_no_quotes_with_bad_escape": b"\\n",
    "string_single_quote": b"'single quote'",
    "string_unescaped_control": b'"a\x00a"',
    "string_unescaped_tab": b'"\t"',
    "string_unescaped_escape": b'"\x1b"',
    "string_with_trailing_garbage": b'""x',
    "string_unclosed": b'"abc',
    "number_too_many_digits": b"9" * 5000,
    "number_huge_exponent": b"0.4e00669999999999999999999999999999999999999999999999",
    "number_1e400": b"1e400",
    "nested_100_arrays": b"[" * 100 + b"]" * 100,
    "nested_100000_arrays": b"[" * 100_000 + b"]" * 100_000,
    "nested_100000_open_arrays": b"[" * 100_000,
    "nested_50000_objects": b'{"":' * 50_000 + b"1" + b"}" * 50_000,
    "nested_open_array_object": b'[{"":' * 50_000,
}

# Whole lines that must be refused.
_BAD_LINES = {
    "top_level_null": b"null",
    "top_level_true": b"true",
    "top_level_number": b"42",
    "top_level_string": b'"asd"',
    "top_level_array": b"[1]",
    "top_level_array_of_object": b'[{"v":1}]',
    "two_objects": b'{"v":1}{"v":2}',
    "two_objects_with_space": b'{"v":1} {"v":2}',
    "two_objects_with_comma": b'{"v":1},{"v":2}',
    "object_null_object": b'{"v":1} null {"v":2}',
    "object_followed_by_close": b'{"v":1}}',
    "object_followed_by_text": b'{"v":"a"} x',
    "object_followed_by_comma": b'{"v":1},',
    "object_followed_by_nul": b'{"v":1}\x00',
    "only_open": b"{",
    "only_close": b"}",
    "only_quote": b'"',
    "only_comma": b",",
    "angle_brackets": b"<.>",
    "angle_null": b"<null>",
    "single_a": b"a",
    "word_joiner": b"\xe2\x81\xa0",
    "no_break_space": b'\xc2\xa0{"v":1}',
    "form_feed": b'\x0c{"v":1}',
    "form_feed_inside": b'{"v":1\x0c}',
    "vertical_tab": b'{"v":1}\x0b',
    "nul_first": b'\x00{"v":1}',
    "nul_only": b"\x00",
    "bom_inside": b'\xef\xbb\xbf{"v":1}',
    "incomplete_bom": b'\xef\xbb{"v":1}',
    "comment": b"// comment",
    "block_comment": b'/* c */{"v":1}',
    "hash_comment": b"# comment",
    "unclosed_object": b'{"v":1',
    "truncated_in_key": b'{"v',
    "truncated_after_colon": b'{"v":',
    "xml": b"<xml/>",
    "csv": b"1,2,3",
    "uescaped_brace": b'\\u007b"v":1}',
    "dollar": b"$",
    "lone_backslash": b"\\",
}

_GOOD_LINES = {
    "empty_object": b"{}",
    "leading_spaces": b'   {"v":1}',
    "trailing_spaces": b'{"v":1}   ',
    "tabs_around": b'\t{"v":1}\t',
    "carriage_return": b'{"v":1}\r',
    "spaces_inside": b'{ "v" : 1 }',
    "other_columns": b'{"w":1,"x":{"y":[1]}}',
    "column_without_name": b'{"":1}',
    "column_with_dots": b'{"v.w":1,"v":2}',
    "column_with_slash": b'{"v/w":"a","v":{"w":1}}',
    "text_where_numbers_are": b'{"id":"two"}',
    "object_where_numbers_are": b'{"id":{"a":1}}',
    "float_where_integers_are": b'{"id":2.5}',
    "huge_where_integers_are": b'{"id":123456789012345678901234567890}',
}

# What parsers disagree about: NaN and Infinity as Python's json writes them.
_EITHER_VALUES = {"number_nan": b"NaN", "number_infinity": b"Infinity", "number_minus_infinity": b"-Infinity"}


def build(folder: Path) -> list[Case]:
    """Every text as a line between good ones, in an array, and some whole files."""
    cases: list[Case] = []
    for prefix, expect, texts in (
        ("y", "rows", {**_as_lines(_GOOD_VALUES), **_GOOD_LINES}),
        ("n", "refused", {**_as_lines(_BAD_VALUES), **_BAD_LINES}),
        ("i", "any", _as_lines(_EITHER_VALUES)),
    ):
        for name, text in texts.items():
            cases.append(_line_case(folder, f"{prefix}_{name}", text, expect))
    for name, text in {**_as_lines(_GOOD_VALUES), **_GOOD_LINES}.items():
        path = write(folder, f"array_{name}.json", b'[{"id": 1},\n' + text + b',\n{"id": 3}]')
        cases.append(Case(name=f"json/array/y_{name}", format="json", path=path, expect="rows", rows=3, refused=0))
    return [*cases, *_whole_files(folder)]


def _as_lines(values: dict[str, bytes]) -> dict[str, bytes]:
    return {name: b'{"v": ' + value + b"}" for name, value in values.items()}


def _line_case(folder: Path, name: str, text: bytes, expect: Expect) -> Case:
    path = write(folder, f"{name}.jsonl", b'{"id": 1}\n' + text + b'\n{"id": 3}\n')
    rows, refused = {"rows": (3, 0), "refused": (2, 1)}.get(expect, (None, None))
    return Case(name=f"json/lines/{name}", format="json", path=path, expect=expect, rows=rows, refused=refused)


def _whole_files(folder: Path) -> list[Case]:
    good = b'{"id": 1}'
    pretty = json.dumps([{"id": 1, "n": {"x": [1, 2]}}, {"id": 2}], indent=4).encode()
    files: dict[str, tuple[bytes, Expect, int | None, int | None]] = {
        "empty": (b"", "rows", 0, 0),
        "only_newlines": (b"\n\n\r\n\n", "rows", 0, 0),
        "only_spaces": (b"   \t \n  ", "rows", 0, 0),
        "only_bom": (b"\xef\xbb\xbf", "rows", 0, 0),
        "bom": (b"\xef\xbb\xbf" + good, "rows", 1, 0),
        "no_last_newline": (good + b"\n" + good, "rows", 2, 0),
        "truncated_last_line": (good + b'\n{"id": 2', "refused", 1, 1),
        "blank_lines_between": (good + b"\n\n \n\t\n" + good + b"\n", "rows", 2, 0),
        "crlf": (good + b"\r\n" + good + b"\r\n", "rows", 2, 0),
        "only_empty_objects": (b"{}\n{}\n{}\n", "rows", 3, 0),
        "only_nulls": (b'{"a":null}\n{"a":null}\n', "rows", 2, 0),
        "all_malformed": (b"x\ny\nz\n", "refused", 0, 3),
        "array_empty": (b"[]", "rows", 0, 0),
        "array_empty_with_space": (b" \n[ \n ] \n", "rows", 0, 0),
        "array_pretty": (pretty, "rows", 2, 0),
        "array_with_bom": (b"\xef\xbb\xbf" + pretty, "rows", 2, 0),
        "array_of_scalars": (b'[1, "x", null, [2], {"a": 1}]', "refused", 1, 4),
        "array_with_bad_element": (b'[{"a":1},{"a":},{"a":3}]', "refused", 2, 1),
        "array_trailing_comma": (b'[{"a":1},]', "refused", 1, 1),
        "array_double_comma": (b'[{"a":1},,{"a":2}]', "refused", 2, 1),
        "array_not_closed": (b'[{"a":1},{"a":2}', "error", 1, 0),
        "array_only_open": (b"[", "error", 0, 0),
        "array_text_after": (b'[{"a":1}] x', "error", 1, 0),
        "array_two": (b'[{"a":1}]\n[{"a":2}]', "error", 1, 0),
        "array_quote_lost": (b'[{"a":1},{"a":"x},{"a":3}]', "error", None, None),
        "array_closed_by_brace": (b'[{"a":1}}', "error", 1, 0),
        "types_clash": (
            b"".join(b'{"a":%s}\n' % v for v in (b"1", b'"x"', b"[1]", b'{"b":1}', b"true", b"null")),
            "rows",
            6,
            0,
        ),
    }
    cases = []
    for name, (data, expect, rows, refused) in files.items():
        path = write(folder, f"whole_{name}.json", data)
        cases.append(
            Case(name=f"json/whole/{name}", format="json", path=path, expect=expect, rows=rows, refused=refused)
        )
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252"):
        data = '{"id": 1, "name": "Zoë"}\n{"id": 2, "name": "Ünal"}\n'.encode(encoding)
        path = write(folder, f"encoding_{encoding}.json", data)
        cases.append(
            Case(
                name=f"json/encoding/{encoding}",
                format="json",
                path=path,
                expect="rows",
                rows=2,
                refused=0,
                options={"encoding": encoding},
            )
        )
    path = write(folder, "mixed_encodings.json", '{"a":"é"}\n'.encode() + '{"a":"é"}\n'.encode("latin-1") + good)
    cases.append(Case(name="json/encoding/mixed", format="json", path=path, expect="refused", rows=2, refused=1))
    return cases
