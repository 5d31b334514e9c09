"""A sample lake whose rows hold lists, with an oracle for the child tables that these become."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from lakeray.objects import join
from tests.sample_lake import SampleLake, data_files, read

CHILDREN = ("items", "tags")


class NestedLake(SampleLake):
    """Rows with ``items`` (structs) and ``tags`` (texts), which become tables of these names."""

    @classmethod
    def at(cls, root: str, folder: Path, **options: Any) -> NestedLake:
        """``options`` are those of a sample lake."""
        unnest = """
    unnest:
      items: {from: items, key: [id]}
      tags: {from: labels, key: [id, note], position: place, value: tag}
"""
        tables = "".join(f'  {name}: {{uri: "{join(root, name)}"}}\n' for name in CHILDREN)
        return cls(root=root, folder=folder, extra=options.pop("extra", "") + unnest, tables=tables, **options)

    def more(self, number: int) -> dict[str, Any]:
        """Lists of 0 to 3 elements, or none; of some ids null."""
        items = None if number % 7 == 0 else [{"sku": f"s{n}", "qty": number + n} for n in range(number % 4)]
        return {"items": items, "labels": [f"l{n}" for n in range(number % 3)]}

    def uri_of(self, child: str) -> str:
        return join(self.root, child)

    def expected(self) -> dict[str, Counter[tuple[Any, ...]]]:
        """What the child tables must hold."""
        items: Counter[tuple[Any, ...]] = Counter()
        tags: Counter[tuple[Any, ...]] = Counter()
        for number, times in self.ids.items():
            row = self.more(number)
            for place, item in enumerate(row["items"] or ()):
                items[number, place, item["sku"], item["qty"]] += times
            for place, tag in enumerate(row["labels"]):
                tags[number, f"n{number % 5}", place, tag] += times
        return {"items": items, "tags": tags}

    def held(self) -> dict[str, Counter[tuple[Any, ...]]]:
        """What they do hold."""
        columns = {"items": ("id", "position", "sku", "qty"), "tags": ("id", "note", "place", "tag")}
        found = {}
        for child, names in columns.items():
            rows = read(self.uri_of(child))
            found[child] = Counter(zip(*(rows[name].to_pylist() for name in names), strict=True))
        return found

    def check(self) -> None:
        """Tables, quarantine and ledger equal the oracle as multisets."""
        super().check()
        assert self.held() == self.expected()
        assert not {"items", "labels"} & set(read(self.table_uri).column_names)

    def child_files(self) -> set[str]:
        """Data files of the child tables, live or not."""
        return {join(child, path) for child in CHILDREN for path in data_files(self.uri_of(child))}
