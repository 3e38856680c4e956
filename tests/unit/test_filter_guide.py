"""docs/filters.md is true."""

import json
import re
from pathlib import Path

import pytest

from broker import filters
from broker.filters import Context, contexts, parse_filter
from broker.filters.operators import MAX_PROGRAM, OPERATORS

GUIDE = (Path(__file__).parents[2] / "docs" / "filters.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^\| `(\{.*\})` \| `(\{.*\})` \| (yes|no: .*) \|$", GUIDE, re.MULTILINE)
ROWS = re.findall(r"^\| `([A-Z_]+)` \| `(values?)` \| .* \| (may be ignored)?", GUIDE, re.MULTILINE)


def test_no_example_is_overlooked():
    assert len(EXAMPLES) == GUIDE.count("\n| `{") == 29


@pytest.mark.parametrize(("document", "payload", "answer"), EXAMPLES)
def test_every_example_does_what_it_says(document, payload, answer):
    reason = parse_filter(json.loads(document)).mismatch(Context.of(payload.encode()))
    assert ("yes" if reason is None else f"no: {reason}") == answer


def test_the_first_filter_is_one():
    (block,) = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    parsed = parse_filter(json.loads(block))
    assert parsed.mismatch(Context.of(b'{"cpu":91,"region":"eu-north"}')) is None


def test_every_operator_is_in_the_table_as_it_is():
    expected = [
        (name, "values" if operator.takes_list else "value", "may be ignored" if operator.ignoring_case else "")
        for name, operator in OPERATORS.items()
    ]
    assert expected == ROWS


def test_the_limits_are_those_of_the_code():
    limits = re.search(r"## Limits\n\n(.*?)\n\n", GUIDE, re.DOTALL)[1].replace("\n", " ")
    numbers = [int(number) for number in re.findall(r"[0-9]+", limits)]
    assert numbers == [
        filters.MAX_CONDITIONS,
        filters.MAX_DOCUMENT_BYTES // 1024,
        filters.MAX_VALUES,
        filters.MAX_VALUE_CHARACTERS,
        1,
        filters.MAX_PATH_CHARACTERS,
        filters.MAX_REGEXES,
        filters.MAX_ANY_ELEMENTS,
    ]
    assert f"at most {contexts.MAX_CHARACTERS} characters in all" in GUIDE
    assert f"the first {contexts.MAX_ELEMENTS} elements" in GUIDE
    assert f"after looking at {contexts.MAX_LOOKS} values" in GUIDE
    assert f"more than {MAX_PROGRAM} instructions" in GUIDE
