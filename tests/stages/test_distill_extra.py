"""A term on a second corpus: MiniLLM's term on plain text, and the like."""

from pathlib import Path
from typing import Any

import pytest
import tiny
from distilling import log_of, make_inputs, make_spec, run

from ketchup_cli.corpora import read_split
from ketchup_cli.models.load import load_policy
from ketchup_cli.models.sources import reference_rows
from ketchup_cli.stages import STAGES
from ketchup_cli.stages.training import limits, mean_loss
from ketchup_cli.store.artifact import Input

MIX = ({"name": "minillm"}, {"name": "nll", "weight": 0.5, "prefixes": "extra"})


def with_extra(folder: Path) -> dict[str, Input]:
    """Return the usual inputs and a second corpus of other texts."""
    given = make_inputs(folder)
    tiny.make_corpus(folder / "other", train=5, dev=1, test=1, seed=9)
    return {**given, "extra-corpus": tiny.inputs(extra_corpus=folder / "other")["extra-corpus"]}


def first_line(folder: Path, spec: Any, given: dict[str, Input]) -> dict[str, Any]:
    line: dict[str, Any] = log_of(run(folder, spec, given))[0]
    return line


def test_a_mix_learns_from_both_corpora(tmp_path: Path) -> None:
    line = first_line(tmp_path, make_spec(*MIX), with_extra(tmp_path))

    assert line["extra_tokens"] > 0
    assert line["student_tokens"] > 0
    assert line["loss_nll"] > 0


def test_the_loss_is_that_of_the_second_corpus_s_references(tmp_path: Path) -> None:
    given = with_extra(tmp_path)
    spec = make_spec({"name": "nll", "prefixes": "extra"}, tokens_per_batch=10_000)
    student = load_policy(given["student"].path, device="cpu")
    rows = reference_rows(student, read_split(given["extra-corpus"].path, "train"), limits(spec))

    line = first_line(tmp_path, spec, given)
    assert line["loss_nll"] == pytest.approx(mean_loss(student, rows.rows, 10_000), abs=1e-5)


def test_the_limit_on_examples_is_the_first_corpus_s(tmp_path: Path) -> None:
    given = with_extra(tmp_path)
    table = {"name": "nll", "prefixes": "extra"}

    few, all_of_them = (
        first_line(tmp_path, make_spec(table, tokens_per_batch=10_000, **changes), given)
        for changes in ({"examples": 2}, {})
    )
    assert few["extra_sequences"] == all_of_them["extra_sequences"] == 5


@pytest.mark.parametrize(("tables", "used"), [(MIX, True), (MIX[:1], False)], ids=["mix", "alone"])
def test_a_second_corpus_is_read_only_where_a_term_learns_from_it(
    tables: tuple[dict[str, Any], ...], used: bool
) -> None:
    (role,) = (role for role in STAGES["distill"].roles if role.name == "extra-corpus")

    assert role.used(make_spec(*tables)) is used
    assert role.needed(make_spec(*tables)) is used
