"""A table's profile as one self-contained page: a card for each column, with a picture of its values."""

from __future__ import annotations

from lakeray.importer.profile.model import ColumnProfile, LayoutProfile, TableProfile, Value
from lakeray.observability.figures import count, duration, percent, size
from lakeray.reports.html import page, style
from lakeray.reports.markup import Markup, element, joined, trusted

_WIDTH, _HEIGHT, _GAP = 288, 64, 1
_SHOWN_TOP = 6
_STYLE = """
.lakeray .columns { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: .9rem; }
.lakeray .columns section { margin: 0; }
.lakeray .columns h3 { margin: 0 0 .2rem; }
.lakeray .histogram { width: 100%; height: 4rem; display: block; margin: .7rem 0 .1rem; }
.lakeray .histogram rect { fill: var(--accent); }
.lakeray .ends { display: flex; justify-content: space-between; gap: 1rem; color: var(--quiet); font-size: .78rem; }
.lakeray .columns dl { font-size: .88rem; gap: .05rem 1rem; }
.lakeray .columns .bars { margin-top: .7rem; font-size: .82rem; grid-template-columns: minmax(0, 45%) 1fr max-content; }
.lakeray .columns .bars > span:first-child, .lakeray .bars .value { overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
"""


class ProfileReport(TableProfile):
    """A profile that shows itself in a notebook."""

    def _repr_html_(self) -> str:
        return profile_fragment(self)

    def to_html(self) -> str:
        """A whole page without references to anything outside of it."""
        return page(f"profile of {self.uri}", profile_fragment(self))


def profile_fragment(profile: TableProfile) -> str:
    """The profile as an element with its own style, for a page that holds more."""
    name = profile.uri.rstrip("/").rsplit("/", 1)[-1]
    figures = [
        (count(profile.rows), "rows"),
        (count(len(profile.columns)), "columns"),
        (count(profile.layout.files), "data files"),
        (size(profile.layout.size_bytes), "on disk"),
    ]
    tiles = [element("div", element("b", value), element("span", label), class_="figure") for value, label in figures]
    about = f"{profile.uri} · version {profile.version} · looked at in {duration(profile.duration_s)}"
    head = element("header", element("h1", name), element("p", about, class_="quiet"))
    cards = [_card(column) for column in profile.columns]
    body = element(
        "main",
        head,
        element("section", element("h2", "table"), element("div", *tiles, class_="figures"), _layout(profile.layout)),
        element("div", *cards, class_="columns"),
    )
    return element("div", element("style", trusted(style() + _STYLE)), body, class_="lakeray")


def _layout(layout: LayoutProfile) -> Markup:
    rows = element("dl", *(joined(element("dt", name), element("dd", text)) for name, text in layout_facts(layout)))
    return joined(rows, *(element("p", note, class_="quiet") for note in layout.notes))


def layout_facts(layout: LayoutProfile) -> list[tuple[str, str]]:
    """How the files lie, for a text or a page."""
    sizes = f"{size(layout.smallest_bytes)}, median {size(layout.median_bytes)}, up to {size(layout.largest_bytes)}"
    facts = [("file sizes", sizes)] if layout.files else []
    facts.append(("small files", f"{count(layout.small_files)} below half of {size(layout.target_bytes)}"))
    if layout.row_groups and layout.rows_a_group:
        facts.append(("row groups", f"{count(layout.row_groups)} of {count(layout.rows_a_group)} rows on average"))
    if layout.largest_partition is not None and layout.largest_share is not None:
        largest = f"largest {layout.largest_partition} with {percent(layout.largest_share, 1)} of the bytes"
        facts.append(("partitions", f"{count(layout.partitions)}, {largest}"))
    return facts


def _card(column: ColumnProfile) -> Markup:
    facts = element("dl", *(joined(element("dt", name), element("dd", text)) for name, text in column_facts(column)))
    return element(
        "section",
        element("h3", column.name),
        element("div", column.type, class_="quiet"),
        _picture(column),
        facts,
    )


def column_facts(column: ColumnProfile) -> list[tuple[str, str]]:
    """What is known of a column, for a text or a page."""
    facts = [("nulls", f"{count(column.nulls)} ({percent(column.null_rate)})" if column.nulls else "none")]
    if column.nans:
        facts.append(("NaN", count(column.nans)))
    if column.distinct is not None:
        about = "" if column.distinct_low == column.distinct_high else "about "
        facts.append(("distinct", f"{about}{count(column.distinct)}"))
    if column.mean is not None and column.stddev is not None:
        facts.append(("mean", f"{shown(column.mean)} ± {shown(column.stddev)}"))
    if column.quantiles:
        facts.append(("median", shown(column.quantiles["p50"])))
        facts.append(("5 % to 95 %", f"{shown(column.quantiles['p05'])} to {shown(column.quantiles['p95'])}"))
    elif column.low is not None:
        facts.append(("from", shown(column.low)))
        facts.append(("to", shown(column.high)))
    if column.lengths is not None:
        lengths = column.lengths
        facts.append(("length", f"{lengths.low} to {lengths.high}, mean {shown(lengths.mean)}"))
    if column.samples and not column.top and not column.quantiles:
        facts.append(("such as", ", ".join(shown(text) for text in column.samples[:3])))
    if column.hidden:
        facts.append(("values", f"not shown: {column.hidden}"))
    return facts


def _picture(column: ColumnProfile) -> Markup:
    if column.histogram:
        return _histogram(column)
    if column.top and not column.quantiles:
        return _top(column)
    return joined()


def _histogram(column: ColumnProfile) -> Markup:
    highest = max(one.share for one in column.histogram) or 1.0
    wide = _WIDTH / len(column.histogram)
    bars = []
    for place, one in enumerate(column.histogram):
        tall = one.share / highest * _HEIGHT if one.share <= 0 else max(0.75, one.share / highest * _HEIGHT)
        title = element("title", f"{shown(one.low)} to {shown(one.high)}: {percent(one.share)}")
        bars.append(
            element(
                "rect",
                title,
                x=f"{place * wide:.2f}",
                y=f"{_HEIGHT - tall:.2f}",
                width=f"{max(1.0, wide - _GAP):.2f}",
                height=f"{tall:.2f}",
            )
        )
    label = f"histogram of {column.name}"
    drawing = element(
        "svg",
        *bars,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        class_="histogram",
        role="img",
        aria_label=label,
    )
    ends = element("div", element("span", shown(column.low)), element("span", shown(column.high)), class_="ends")
    return joined(drawing, ends)


def _top(column: ColumnProfile) -> Markup:
    filled = max(1, column.rows - column.nulls)
    rows = (
        joined(
            element("span", one.value or "(empty)", class_="value", title=one.value),
            element(
                "svg",
                element("rect", width=f"{max(0.5, one.rows / filled * 100):.2f}%", height="100%", rx="2"),
                class_="bar",
                role="img",
                aria_label=f"{one.value} {one.rows}",
            ),
            element("span", percent(one.rows / filled, 1), class_="number"),
        )
        for one in column.top[:_SHOWN_TOP]
    )
    return element("div", *rows, class_="bars")


def shown(value: Value) -> str:
    """A value as people read it: four figures of a fraction, thousands set apart."""
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 or abs(value) >= 1e15 else f"{value:,.0f}"  # noqa: PLR2004
    return value.replace("T", " ").replace("+00:00", "Z")[:32] if value[:4].isdigit() and "T" in value else value[:32]
