"""The readings that must be comparable, held against what lm-evaluation-harness itself read.

`gsm8k_readings.jsonl` holds 200 odd answers and what lm-eval 0.4.13 made of them: the filters
`strict-match` and `flexible-extract` of its task `gsm8k`, applied by its own `RegexFilter`, and the
verdict of its own `exact_match` with that task's settings; null stands for its `[invalid]`.
"""

import json
from pathlib import Path

import pytest

from ketchup_cli.scoring.exact import measure

ROWS = [
    json.loads(line)
    for line in Path(__file__)
    .with_name("gsm8k_readings.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]


@pytest.mark.parametrize("reading", ["strict", "flexible"])
def test_every_answer_is_read_as_lm_eval_reads_it(reading: str) -> None:
    texts = [row["text"] for row in ROWS]

    (one,) = measure([f"gsm8k-{reading}"], texts, [[row["reference"]] for row in ROWS])

    assert list(one.extracted or ()) == [row[reading] for row in ROWS]


@pytest.mark.parametrize("reading", ["strict", "flexible"])
def test_every_answer_is_judged_as_lm_eval_judges_it(reading: str) -> None:
    texts = [row["text"] for row in ROWS]

    (one,) = measure([f"gsm8k-{reading}"], texts, [[row["reference"]] for row in ROWS])

    assert [value == 100.0 for value in one.items] == [row[f"{reading}_match"] for row in ROWS]


def test_the_answers_are_odd_enough_to_tell_the_readings_apart() -> None:
    verdicts = [(row["strict_match"], row["flexible_match"]) for row in ROWS]

    assert len(ROWS) == 200
    assert min(verdicts.count(pair) for pair in [(True, False), (False, True), (True, True)]) >= 3
