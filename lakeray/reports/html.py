"""A report as one self-contained page, light or dark as the reader's system is."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from lakeray.observability.figures import count, percent
from lakeray.reports.blocks import Bars, Block, Facts, Figures, Graph, Grid, Heading, Items, Note, Split
from lakeray.reports.drawing import draw
from lakeray.reports.markup import Markup, element, joined, trusted
from lakeray.reports.model import Report
from lakeray.reports.outline import outline
from lakeray.reports.steps import state_tone

# No script, no request of any kind, whatever a name in the report may try.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def render_html(report: Report) -> str:
    """A whole page without references to anything outside of it."""
    return page(f"{report.run.workflow}: {report.run.state}", render_fragment(report))


def page(title: str, fragment: str) -> str:
    """A page that holds nothing but the fragment."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", trusted("body { margin: 0 }")),
    )
    whole = element("html", head, element("body", trusted(fragment)), lang="en")
    return f"<!doctype html>\n{whole}\n"


def render_fragment(report: Report) -> str:
    """The report as an element with its own style, for a page that holds more, such as a notebook."""
    sections = [
        element("section", element("h2", section.name), *map(_draw, section.blocks), id=f"lakeray-{section.name}")
        for section in outline(report)
    ]
    jumps = [element("a", name, href=f"#lakeray-{name}") for name in (section.name for section in outline(report))]
    body = element("main", _head(report), element("nav", *jumps), *sections)
    return element("div", element("style", trusted(style())), body, class_="lakeray")


@cache
def style() -> str:
    """The style sheet of all that lakeray shows."""
    return files("lakeray.reports").joinpath("report.css").read_text(encoding="utf-8")


def _head(report: Report) -> Markup:
    run = report.run
    began = run.started_at.strftime("%Y-%m-%d %H:%M:%S %Z").strip()
    facts = [f"run {run.run_id}", f"tenant {run.tenant}", began]
    facts += [f"{name} {value}" for name, value in run.environment.items()]
    return element(
        "header",
        element("h1", run.workflow, element("span", run.state, class_=f"state {state_tone(run.state)}")),
        element("p", run.headline, class_="headline"),
        element("p", " · ".join(facts), class_="quiet"),
    )


def _draw(block: Block) -> Markup:  # noqa: PLR0911 - one return a shape
    if isinstance(block, Heading):
        return element("h3", block.text)
    if isinstance(block, Note):
        return element("p", block.text)
    if isinstance(block, Figures):
        return _figures(block)
    if isinstance(block, Facts):
        rows = (joined(element("dt", n), element("dd", v, class_=tone)) for n, v, tone in block.facts)
        return element("dl", *rows)
    if isinstance(block, Grid):
        return _grid(block)
    if isinstance(block, Bars):
        return _bars(block)
    if isinstance(block, Split):
        return _split(block)
    if isinstance(block, Graph):
        return draw(block)
    return _items(block)


def _figures(block: Figures) -> Markup:
    tiles = (
        element("div", element("b", value, class_=tone), element("span", label), class_="figure")
        for value, label, tone in block.figures
    )
    return element("div", *tiles, class_="figures")


def _grid(block: Grid) -> Markup:
    side = ["number" if index in block.numeric else None for index in range(len(block.headers))]
    head = element(
        "tr", *(element("th", text, class_=c, scope="col") for text, c in zip(block.headers, side, strict=True))
    )
    rows = (
        element("tr", *(element("td", text, class_=c) for text, c in zip(row, side, strict=True)), class_=block.tone(i))
        for i, row in enumerate(block.rows)
    )
    return element("div", element("table", element("thead", head), element("tbody", *rows)), class_="scroll")


def _bars(block: Bars) -> Markup:
    longest = max((value for _, value, _ in block.bars), default=0.0) or 1.0
    rows = (
        joined(
            element("span", name),
            element(
                "svg",
                element("rect", width=f"{max(0.5, value / longest * 100):.2f}%", height="100%", rx="2"),
                class_="bar",
                role="img",
                aria_label=f"{name} {shown}",
            ),
            element("span", shown, class_="number"),
        )
        for name, value, shown in block.bars
    )
    return element("figure", element("figcaption", block.title), element("div", *rows, class_="bars"))


def _split(block: Split) -> Markup:
    total = sum(number for _, number, _ in block.parts) or 1
    shown = [(name, number, tone) for name, number, tone in block.parts if number]
    at, rects = 0.0, []
    for name, number, tone in shown:
        width = number / total * 100
        title = element("title", f"{name}: {count(number)}")
        kind = f"{tone} {name}"
        rects.append(element("rect", title, x=f"{at:.3f}%", width=f"{width:.3f}%", height="100%", class_=kind))
        at += width
    legend = (
        element("span", element("i", class_=f"{tone} {name}"), f"{name} {count(number)} ({percent(number / total)})")
        for name, number, tone in shown
    )
    drawing = element("svg", *rects, class_="split", role="img", aria_label=block.title)
    return element("figure", element("figcaption", block.title), drawing, element("div", *legend, class_="legend"))


def _with_code(text: str) -> Markup:
    """Commands that stand between backticks as code; a lone backtick stays one."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return joined(text)
    return joined(*(element("code", part) if index % 2 else part for index, part in enumerate(parts)))


def _items(block: Items) -> Markup:
    items = (
        element(
            "li",
            element("div", about, class_="quiet about"),
            *(element("div", line) for line in happened),
            element("div", "→ ", _with_code(to_do), class_="todo"),
            class_=tone,
        )
        for about, happened, to_do, tone in block.items
    )
    return element("ul", *items, class_="items")
