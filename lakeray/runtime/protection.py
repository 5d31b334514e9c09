"""What a run protects, and under which keys, told by their references alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lakeray.security.secrets import resolve
from lakeray.spec.masks import Mask
from lakeray.spec.model import Workflow


def resolved_keys(workflow: Workflow, names: Sequence[str]) -> dict[str, bytes]:
    """The keys of the masks of the steps ``names``, by reference. Raises ConfigError for one that is missing."""
    references = {mask.key for name in names for mask in workflow.steps[name].mask.values() if mask.key is not None}
    return {reference: resolve(reference).reveal() for reference in sorted(references)}


def protections(workflow: Workflow, names: Sequence[str]) -> Iterator[str]:
    """A line for each masked column of the steps ``names``, and one for each tagged column without a mask."""
    for name in names:
        step = workflow.steps[name]
        for column, mask in step.mask.items():
            yield f"step {name}: column {column} is {hidden(mask)}, in the table and in quarantine"
        if step.import_ is None:
            continue
        masked = {column.casefold() for column in step.mask}
        for column, tags in workflow.tables[step.import_.into].tags.items():
            if column.casefold() not in masked:
                yield f"step {name}: column {column} is tagged {', '.join(tags)}, and stored as it comes: no mask"
        for child, unnest in step.unnest.items():
            for column, tags in workflow.tables[child].tags.items():
                if column not in unnest.key or column.casefold() not in masked:
                    told = f"column {column} of {child} is tagged {', '.join(tags)}, and stored as it comes"
                    yield f"step {name}: {told}: no mask reaches into child tables"


def hidden(mask: Mask) -> str:
    """How values are hidden, as the end of a sentence."""
    if mask.hmac_sha256 is not None:
        return f"replaced by its HMAC-SHA-256 under the key {mask.hmac_sha256}"
    if mask.tokenize is not None:
        return f"replaced by tokens under the key {mask.tokenize.key}"
    if mask.encrypt is not None:
        how = "AES-SIV, equal values stay equal" if mask.encrypt.deterministic else "AES-GCM"
        return f"encrypted ({how}) under data keys that {mask.encrypt.key} wraps"
    if mask.partial is not None:
        return f"covered but for {_shown(mask)}"
    if mask.generalize is not None:
        unit = mask.generalize.unit
        return f"generalized to its {unit}" if unit else f"generalized to multiples of {mask.generalize.step}"
    return "redacted"


def _shown(mask: Mask) -> str:
    part = mask.partial
    assert part is not None
    if part.shape == "email":
        return f"the domain and the first {part.first} of the name"
    ends = [f"its {side} {count}" for side, count in (("first", part.first), ("last", part.keep_last)) if count]
    return f"{' and '.join(ends)} characters"
