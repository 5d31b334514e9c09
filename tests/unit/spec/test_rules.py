"""Whatever stands in a rule, it is a condition or a WrongValue, soon and without harm to the process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeray.spec.rules import VARIABLES, compile_rule
from lakeray.spec.wrong import WrongValue

SIGNS = ". a b [ ] ( ) { } 'x' 1 2.5 1u - + * / % && || ! < <= == != in ? : , true null"
ODD = ["map", "exists", "matches", "\n", "//", "\\", "r'", "'''", "9223372036854775808", "1e400", "\x00", "\ud800", "é"]


@given(st.lists(st.sampled_from([*VARIABLES, *SIGNS.split(), *ODD]), max_size=14), st.sampled_from(["", " "]))
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_rule_or_refused(words, between):
    text = between.join(words)
    try:
        rule = compile_rule(text)
    except WrongValue:
        return
    assert rule.return_type().name() in ("BOOL", "DYN")


HOSTILE = ["(", "[", "!", "-", "1+", "a.", "{1:", "true?", "'", "size(", "1<", "a&&", "//", "\n"]


def test_hostile_rules_are_refused_and_the_process_lives():
    """In a process of its own: an evaluator without bounds dies of its stack here."""
    texts = [[part * 8_000, part * 300 + "true", part * 100 + "1" + ")" * 100, part * 60_000] for part in HOSTILE]
    code = (
        "import sys, json\nfrom lakeray.spec.rules import compile_rule\nfrom lakeray.spec.wrong import WrongValue\n"
        "for text in [text for group in json.loads(sys.stdin.read()) for text in group]:\n"
        "    try:\n        compile_rule(text).eval(data={})\n"
        "    except (WrongValue, RuntimeError):\n        pass\n"
        "    print(ascii(text[:10]), flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(texts), capture_output=True, text=True, check=False, timeout=60
    )
    told = done.stdout.splitlines()
    assert (done.returncode, len(told)) == (0, 4 * len(HOSTILE)), f"it died behind {told[-1:]}: {done.stderr[-500:]}"


def test_what_a_rule_may_speak_of_is_all_that_there_is():
    for name in ("os", "__import__('os')", "steps2", "self"):
        with pytest.raises(WrongValue):
            compile_rule(f"{name} == 1")
