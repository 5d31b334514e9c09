"""The report always has seven sections and says what to do."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser

import pytest

from lakeray.errors import SpecError
from lakeray.importer.recording.summary import Rows
from lakeray.reports import FORMATS, SECTIONS, build_report, render
from lakeray.reports.remedies import BY_CODE, BY_OUTCOME
from lakeray.runtime.summary import StepSummary


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("case", ["good", "failed", "hostile", "empty"])
def test_every_format_has_all_seven_sections_in_order(case, format_, request, ran):
    summary = ran() if case == "empty" else request.getfixturevalue(case)
    text = render(build_report(summary), format_)
    heads = {
        "text": [rf"(?m)^{name}\s+─" for name in SECTIONS],
        "json": [rf'(?m)^  "{name}":' for name in SECTIONS],
        "markdown": [rf"(?m)^## {name}$" for name in SECTIONS],
        "html": [rf"<h2>{name}</h2>" for name in SECTIONS],
    }
    places = [found.start() for pattern in heads[format_] if (found := re.search(pattern, text))]
    assert len(places) == len(SECTIONS)
    assert places == sorted(places)
    assert text.endswith("\n")


def test_another_format_is_refused_with_the_allowed_ones(good):
    with pytest.raises(SpecError, match="pdf") as raised:
        render(build_report(good), "pdf")
    assert "markdown" in str(raised.value)


def test_import_section_adds_up_all_steps(good, imported, ran):
    second = imported(step="again", rows=Rows(read=10, written=10), objects={"loaded": 1}, problems=[])
    section = build_report(ran(imported(), second)).import_
    assert section.records == 100_010
    assert section.rows.written == 97_010
    assert section.objects == {"loaded": 2_391, "partly_loaded": 8, "failed": 2}
    assert section.balanced
    assert section.rows_per_s == pytest.approx(100_010 / 16.2)


def test_an_imbalance_is_said_aloud(imported, ran):
    report = build_report(ran(imported(rows=Rows(read=10, written=9))))
    assert not report.import_.balanced
    assert "they do not balance" in render(report, "text")


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_says_what_each_cleansing_rule_changed(good, format_):
    text = unescape(render(build_report(good), format_)).replace("\u202f", " ")
    numbers = ["99100", "41013", "409"] if format_ == "json" else ["99,100", "41,013", "409"]
    assert all(re.search(number.replace(",", "[ ,\u00a0]?"), text) for number in numbers)
    assert "enum" in text


def test_integration_and_alignment_say_that_there_are_none(good):
    report = build_report(good)
    assert "no step that delivers" in (report.integration.note or "")
    assert "no step that compares" in (report.alignment.note or "")


def test_steps_of_later_kinds_are_listed_in_their_sections(ran):
    steps = [StepSummary(name=name, kind=name, state="succeeded") for name in ("deliver", "validate")]
    report = build_report(ran(steps=steps))
    assert [line.name for line in report.integration.targets] == ["deliver"]
    assert [line.name for line in report.alignment.checks] == ["validate"]


def test_an_error_is_listed_once_with_what_to_do(failed):
    section = build_report(failed).errors
    [line] = section.errors
    assert (section.count, line.what_to_do) == (1, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")


def test_every_error_without_a_hint_has_a_remedy():
    from lakeray import errors

    leaves = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.LakerayError)
    ]
    generic = {"lakeray", "object", "table"}
    assert {kind.code for kind in leaves} - generic == set(BY_CODE)
    assert set(BY_OUTCOME) == {"partly_loaded", "failed", "poison", "superseded", "skipped"}


def test_objects_with_problems_are_counted_beyond_those_listed(good):
    section = build_report(good).errors
    assert (section.problems_total, len(section.problems)) == (10, 2)
    assert "and 7 more: lakeray ledger show FILE --outcome partly_loaded" in render(build_report(good), "text")


def test_security_says_what_was_used_and_where_refused_rows_lie(good, failed):
    section = build_report(good).security
    assert section.audit == ["env:MASK_KEY was resolved for the mask of orders.email (hmac_sha256)."]
    assert section.quarantines == ["s3://acme-lake/silver/orders/_lakeray/quarantine"]
    assert build_report(failed).security.note


@pytest.mark.parametrize(
    ("state", "changes", "said"),
    [
        ("succeeded", {}, "Done in 9.3 s: 97,000 rows written to 1 table."),
        ("failed", {}, "Failed after 9.3 s: 97,000 rows written to 1 table."),
        ("succeeded", {"rows": Rows(), "batches": [], "objects": {}}, "Done in 9.3 s: nothing new to import."),
    ],
)
def test_the_headline_is_the_result_in_a_sentence(state, changes, said, imported, ran):
    assert build_report(ran(imported(**changes), state=state)).run.headline == said


def test_only_the_last_batches_are_listed_but_all_are_counted(imported, ran):
    [one, *_] = imported().batches
    batches = [one.model_copy(update={"number": number}) for number in range(1, 51)]
    [step] = build_report(ran(imported(batches=batches))).import_.steps
    assert (step.batches_total, len(step.batches), step.batches[-1].number) == (50, 20, 50)
    assert "30 earlier batches" in render(build_report(ran(imported(batches=batches))), "text")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_text_fits_its_width(good, hostile, width):
    for summary in (good, hostile):
        text = render(build_report(summary), "text", width=width)
        assert max(map(len, text.splitlines())) <= width
        assert not any(line != line.rstrip() for line in text.splitlines())


def test_text_has_colours_only_when_asked(good):
    assert "\x1b" not in render(build_report(good), "text")
    assert "\x1b[" in render(build_report(good), "text", color=True)


def test_text_reads_like_this(good):
    text = render(build_report(good), "text", width=100)
    for line in (
        "✓ orders succeeded  Done in 9.3 s: 97,000 rows written to 1 table.",
        "  ingest: raw_orders → orders (append)",
        "  into         s3://acme-lake/silver/orders (version 5)",
        "  objects      2,390 loaded, 8 partly loaded, 2 failed",
        "  rows         100,000 read = 97,000 written + 1,500 quarantined + 900 dropped + 600 filtered",
        "  ✗ ingest · 2 objects failed",
        "    s3://acme-lake/raw/orders/2024/03/part-0007.json.gz: the gzip stream ends in the middle",
        "    → Check or replace the object; it is tried again by the next run.",
    ):
        assert line in text.splitlines()


class Page(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_cannot_be_broken_out_of(hostile):
    page = Page(render(build_report(hostile), "html"))
    assert not {"script", "img", "iframe", "object", "link", "form", "base"} & set(page.tags)
    assert not {name for name in page.attributes if name.startswith("on")}
    assert all(link.startswith("#lakeray-") for link in page.links)
    assert page.open == []


def test_html_asks_for_nothing_outside_of_itself(good):
    text = unescape(render(build_report(good), "html"))
    assert "default-src 'none'" in text
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text


def test_a_notebook_gets_the_fragment(good):
    fragment = build_report(good)._repr_html_()
    assert fragment.startswith('<div class="lakeray">')
    assert "<html" not in fragment


@pytest.mark.parametrize("format_", ["text", "markdown", "html"])
def test_nothing_from_outside_steers_what_shows_it(hostile, format_):
    text = render(build_report(hostile), format_)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert "\\x1b[2J" in text.replace("\\[", "[").replace("\\\\", "\\")


def test_markdown_shows_names_as_they_are(hostile):
    text = render(build_report(hostile), "markdown")
    assert not re.search(r"(?<!\\)<(script|img|/td)", text)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert tables
    assert not [line for line in text.splitlines() if line.startswith("# ") and "h1" in line[:6]]
    for line in tables:
        assert line.endswith("|")


def test_markdown_tables_keep_their_columns(hostile):
    width = 0
    for line in render(build_report(hostile), "markdown").splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        cells = len(re.findall(r"(?<!\\)\|", line))
        assert width in (0, cells)
        width = cells


def test_json_keeps_what_was_said(hostile, hostile_text):
    document = json.loads(render(build_report(hostile), "json"))
    assert list(document) == ["run", *SECTIONS]
    assert document["run"]["workflow"] == hostile_text
    assert document["errors"]["problems"][0]["problem"]["uri"] == hostile_text


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_what_set_expectations_found_is_told(good, form):
    shown = render(build_report(good), form)
    assert "one_order" in shown
    assert "3 rows have a known order_id" in shown
