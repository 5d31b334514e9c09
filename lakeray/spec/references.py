"""What the parts of a workflow file say about each other, whether or not each part is right by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import copy

from pydantic import BaseModel

from lakeray.spec.strict import Complaint, Loc
from lakeray.spec.tables import place
from lakeray.spec.wrong import WrongValue, nearest, quoted, unknown

_IN_RULE = re.compile(r"""\b(steps|tables)(?:\.([A-Za-z_]\w*)|\[\s*["']([A-Za-z_][\w-]*)["']\s*\])""", re.ASCII)
"""A step or table that a rule names: ``steps.ingest`` or ``steps["in-gest"]``."""


def reference_complaints(data: Mapping[str, object]) -> Iterator[Complaint]:
    """Names that nothing has, steps in a circle, verdicts on steps that have not run yet, places that are used twice.

    ``data`` is the file's mapping as written, or with parts that are models already; what has the wrong type is passed
    over.
    """
    plain = _plain(data)
    assert isinstance(plain, dict)
    graph = _Graph(plain)
    for name, step in graph.steps.items():
        yield from graph.order(name, step)
        yield from graph.data(name, step)
        yield from graph.checks(name, step)
        yield from graph.condition(name, _get(step, "gate"), ("steps", name, "gate"))
        yield from graph.condition(name, _get(step, "requires"), ("steps", name, "requires"))
        yield from graph.behind(name).condition(name, _get(step, "ensures"), ("steps", name, "ensures"))
    yield from graph.circles()
    yield from graph.triggers(plain)
    yield from _places(plain)
    yield from _circles(plain)


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True, exclude_unset=True)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return value


def _get(value: object, *path: str) -> object:
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _mapping(value: object) -> dict[str, object]:
    return {k: v for k, v in value.items() if isinstance(k, str)} if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


_SECTIONS = frozenset(
    {"workflow", "tenant", "schedule", "triggers", "sources", "tables", "steps", "targets", "pools", "notify"}
)


class _Graph:
    def __init__(self, data: dict[str, object]) -> None:
        self.steps = _mapping(data.get("steps"))
        self.pools = _mapping(data.get("pools"))
        self.names = {
            kind: list(_mapping(data.get(kind))) for kind in ("sources", "tables", "targets", "steps", "pools")
        }
        strange = [key for key in data if key not in _SECTIONS]
        self.misspelt = {kind for kind in self.names if kind not in data and nearest(kind, strange)}
        self.after = {
            name: [before for before in _list(_get(step, "after")) if isinstance(before, str) and before in self.steps]
            for name, step in self.steps.items()
        }

    def behind(self, name: str) -> _Graph:
        """The graph for conditions over what a step did: it stands before itself."""
        found = copy(self)
        found.after = {**self.after, name: [*self.after[name], name]}
        return found

    def _known(self, loc: Loc, value: object, *kinds: str) -> Iterator[Complaint]:
        names = [name for kind in kinds for name in self.names[kind]]
        if isinstance(value, str) and value not in names and self.misspelt.isdisjoint(kinds):
            yield loc, unknown(value, names, lead=f"{' and '.join(kinds)} of this file")

    def order(self, name: str, step: object) -> Iterator[Complaint]:
        for index, before in enumerate(_list(_get(step, "after"))):
            loc = ("steps", name, "after", index)
            if before == name:
                yield loc, WrongValue("expected another step than itself")
            else:
                yield from self._known(loc, before, "steps")

    def data(self, name: str, step: object) -> Iterator[Complaint]:
        here: Loc = ("steps", name)
        yield from self._known((*here, "import", "from"), _get(step, "import", "from"), "sources")
        yield from self._known((*here, "import", "into"), _get(step, "import", "into"), "tables")
        for child in _mapping(_get(step, "unnest")):
            yield from self._known((*here, "unnest", child), child, "tables")
        for column, mask in _mapping(_get(step, "mask")).items():
            shared = _get(mask, "encrypt", "keys_of")
            if isinstance(shared, str) and "." in shared:
                of: Loc = (*here, "mask", column, "encrypt", "keys_of")
                yield from self._known(of, shared.partition(".")[0], "tables")
        yield from self._known((*here, "maintain", "table"), _get(step, "maintain", "table"), "tables")
        yield from self._queue((*here, "queue"), _get(step, "queue"))
        yield from self._known((*here, "deliver", "from"), _get(step, "deliver", "from"), "tables")
        for rule, said in _mapping(_get(step, "expect_set")).items():
            reference = _get(said, "references", "to")
            if isinstance(reference, str) and "." in reference:
                loc: Loc = (*here, "expect_set", rule, "references", "to")
                yield from self._known(loc, reference.partition(".")[0], "tables")
        for index, target in enumerate(_list(_get(step, "deliver", "to"))):
            yield from self._known((*here, "deliver", "to", index), target, "targets")

    def _queue(self, here: Loc, queue: object) -> Iterator[Complaint]:
        pool, slots = _get(queue, "pool"), _get(queue, "slots")
        yield from self._known((*here, "pool"), pool, "pools")
        size = self.pools.get(pool) if isinstance(pool, str) else None
        if isinstance(size, int) and isinstance(slots, int) and slots > size:
            yield (*here, "slots"), WrongValue(f"expected at most the {size} of the pool {pool}", found=str(slots))

    def checks(self, name: str, step: object) -> Iterator[Complaint]:
        for index, check in enumerate(_list(_get(step, "validate"))):
            for kind, said in _mapping(check).items():
                here: Loc = ("steps", name, "validate", index, kind)
                yield from self._step((*here, "step"), _get(said, "step"), name, "import")
                yield from self._known((*here, "table"), _get(said, "table"), "tables")
                if kind in {"counts", "digests", "keys"}:
                    yield from self._known((*here, "from"), _get(said, "from"), "tables", "targets")
                    yield from self._known((*here, "to"), _get(said, "to"), "tables", "targets")
                reference = _get(said, "to")
                if kind == "references" and isinstance(reference, str) and "." in reference:
                    yield from self._known((*here, "to"), reference.partition(".")[0], "tables")

    def condition(self, name: str, condition: object, here: Loc, depth: int = 0) -> Iterator[Complaint]:
        if depth > 32:  # noqa: PLR2004 - deeper ones are refused by their own model
            return
        for key in ("all", "any"):
            for index, inner in enumerate(_list(_get(condition, key))):
                yield from self.condition(name, inner, (*here, key, index), depth + 1)
        if _get(condition, "not") is not None:
            yield from self.condition(name, _get(condition, "not"), (*here, "not"), depth + 1)
        yield from self._quality(name, _get(condition, "data_quality"), (*here, "data_quality"))
        alignment = _get(condition, "alignment")
        if isinstance(alignment, str):
            yield from self._step((*here, "alignment"), alignment, name, "validate")
        yield from self._step((*here, "alignment", "step"), _get(alignment, "step"), name, "validate")
        rule = _get(condition, "business_rule")
        named = [(kind, word or key) for kind, word, key in _IN_RULE.findall(rule)] if isinstance(rule, str) else []
        for kind, other in dict.fromkeys(named):
            if kind == "steps":
                yield from self._step((*here, "business_rule"), other, name, None)
            else:
                yield from self._known((*here, "business_rule"), other, "tables")

    def _quality(self, name: str, said: object, here: Loc) -> Iterator[Complaint]:
        step, expectation = _get(said, "step"), _get(said, "expectation")
        yield from self._step((*here, "step"), step, name, "import")
        yield from self._known((*here, "table"), _get(said, "table"), "tables")
        if isinstance(step, str) and step in self.steps and isinstance(expectation, str):
            names = [n for key in ("expect", "expect_set") for n in _mapping(_get(self.steps[step], key))]
            if expectation not in names:
                yield (*here, "expectation"), unknown(expectation, names, lead=f"expectations of {step}")

    def triggers(self, data: dict[str, object]) -> Iterator[Complaint]:
        """Sources and tables that nothing has; a workflow that its own end would start again."""
        for name, trigger in _mapping(data.get("triggers")).items():
            here: Loc = ("triggers", name)
            if name == "schedule":
                yield here, WrongValue("expected another name: the file's schedule is called so", found=quoted(name))
            for loc, said in ((here, trigger), ((*here, "expect"), _get(trigger, "expect"))):
                for kind, key, section in (("arrival", "source", "sources"), ("table_version", "table", "tables")):
                    short, long = _get(said, kind), _get(said, kind, key)
                    yield from self._known((*loc, kind), short, section)
                    yield from self._known((*loc, kind, key), long, section)
            end = _get(trigger, "run_end")
            other, at = (end, ()) if isinstance(end, str) else (_get(end, "workflow"), ("workflow",))
            if isinstance(other, str) and other == data.get("workflow"):
                yield (*here, "run_end", *at), WrongValue("expected another workflow than itself", found=quoted(other))

    def _step(self, loc: Loc, other: object, name: str, kind: str | None) -> Iterator[Complaint]:
        """``other`` is a step of ``kind`` that runs before step ``name``."""
        if not isinstance(other, str):
            return
        if other not in self.steps:
            yield from self._known(loc, other, "steps")
        elif kind is not None and _get(self.steps[other], kind) is None:
            fitting = [step for step, said in self.steps.items() if _get(said, kind) is not None]
            wrong = unknown(other, fitting, lead=f"{kind} steps of this file")
            yield loc, wrong
        elif other not in self._before(name):
            hint = f"expected a step that runs before {name}: put {other} into its `after`"
            yield loc, WrongValue(hint, found=quoted(other))

    def _before(self, name: str) -> set[str]:
        found: set[str] = set()
        waiting = list(self.after[name])
        while waiting:
            step = waiting.pop()
            if step not in found:
                found.add(step)
                waiting.extend(self.after[step])
        return found

    def circles(self) -> Iterator[Complaint]:
        """One complaint for each circle, at its first step in the file's order."""
        told: set[str] = set()
        for name in self.steps:
            if name in told:
                continue
            circle = self._circle(name)
            if circle:
                told.update(circle)
                listed = " -> ".join([*circle, circle[0]])
                index = _list(_get(self.steps[name], "after")).index(circle[-1])
                yield (
                    ("steps", name, "after", index),
                    WrongValue("expected steps in an order", found=f"a circle: {listed}"),
                )

    def _circle(self, name: str) -> list[str]:
        """The shortest circle through ``name`` in running order, beginning with it; empty without one."""
        reached_from: dict[str, str] = {}
        waiting = [before for before in self.after[name] if before != name]
        reached_from.update(dict.fromkeys(waiting, name))
        for step in waiting:
            if name in self.after[step]:
                path = [step]
                while path[-1] != name:
                    path.append(reached_from[path[-1]])
                return [name, *path[:-1]]
            fresh = [before for before in self.after[step] if before not in reached_from]
            reached_from.update(dict.fromkeys(fresh, step))
            waiting.extend(fresh)
        return []


def _places(data: dict[str, object]) -> Iterator[Complaint]:
    """Two tables, or a table and an output, in one place; what lies inside a source, which would then import itself."""
    taken: dict[str, str] = {}
    for name, table in _mapping(data.get("tables")).items():
        uri = _get(table, "uri")
        if not isinstance(uri, str):
            continue
        quarantine = _get(table, "quarantine")
        own = quarantine if isinstance(quarantine, str) else f"{uri.rstrip('/')}_quarantine"
        for key, where in (("uri", uri), ("quarantine", own)):
            loc: Loc = ("tables", name, key) if _get(table, key) is not None else ("tables", name, "uri")
            holder = taken.setdefault(place(where), name)
            if holder != name:
                yield loc, WrongValue(f"expected a place of its own: {holder} lies there too", found=quoted(where))
    for loc, where, holder in _outputs(data):
        other = taken.setdefault(place(where), holder)
        if other != holder:
            yield loc, WrongValue(f"expected a place of its own: {other} lies there too", found=quoted(where))
    yield from _within_sources(data)


def _within_sources(data: dict[str, object]) -> Iterator[Complaint]:
    for name, source in _mapping(data.get("sources")).items():
        root = _get(source, "uri")
        if not isinstance(root, str) or re.search(r"[*?\[{]", root) or _get(source, "format") == "delta":
            continue
        for table, said in _mapping(data.get("tables")).items():
            uri = _get(said, "uri")
            if isinstance(uri, str) and _inside(uri, root):
                hint = f"expected a place outside of source {name}, which would import the table's own files"
                yield ("tables", table, "uri"), WrongValue(hint, found=quoted(uri))
        for loc, where, _ in _outputs(data):
            if _inside(where, root):
                hint = f"expected a place outside of source {name}, which would import the output's files"
                yield loc, WrongValue(hint, found=quoted(where))


def _outputs(data: dict[str, object]) -> Iterator[tuple[Loc, str, str]]:
    """Where each output's folder is said, the folder, and whose it is."""
    for name, step in _mapping(data.get("steps")).items():
        for output, said in _mapping(_get(step, "outputs")).items():
            uri = _get(said, "uri")
            if isinstance(uri, str):
                yield ("steps", name, "outputs", output, "uri"), uri, f"the output {output} of step {name}"


def _circles(data: dict[str, object]) -> Iterator[Complaint]:
    """An import of a table's versions into that table, which would make the next version."""
    for name, step in _mapping(data.get("steps")).items():
        into = _get(step, "import", "into")
        source = _mapping(data.get("sources")).get(str(_get(step, "import", "from")))
        uri, target = _get(source, "uri"), _get(_mapping(data.get("tables")).get(str(into)), "uri")
        if _get(source, "format") != "delta" or not isinstance(uri, str) or not isinstance(target, str):
            continue
        if place(uri) == place(target):
            here: Loc = ("steps", name, "import", "into")
            yield here, WrongValue("expected another table than its own source", found=quoted(str(into)))


def _inside(uri: str, root: str) -> bool:
    inner, outer = place(uri), place(root)
    if outer in {"", "/"}:
        return inner.startswith("/") == (outer == "/") and "://" not in inner
    return f"{inner}/".startswith(f"{outer}/")
