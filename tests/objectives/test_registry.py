import json
import subprocess
import sys

import pytest

from ketchup_cli import objectives
from ketchup_cli.errors import SpecError
from ketchup_cli.objectives.kl import Kl
from ketchup_cli.spec import canonical

MIX = (
    {"name": "ketchup", "k": 8},
    {"name": "nll", "weight": 0.1, "prefixes": "teacher"},
    {"name": "kl", "temperature": 2.0},
)


def refusal(*tables):
    with pytest.raises(SpecError) as caught:
        objectives.terms(tables)
    return caught.value


def test_the_files_of_the_folder_are_the_objectives():
    assert set(objectives.names()) >= {"ketchup", "kl", "llmr", "nll"}
    assert "base" not in objectives.names()


def test_a_headline_is_the_first_line_of_the_file():
    assert objectives.headline("llmr").startswith("LLMR: policy gradient with the one-step reward")


def test_names_and_headlines_and_terms_do_not_load_torch():
    code = (
        "import sys; from ketchup_cli import objectives as o;"
        "[o.headline(n) for n in o.names()]; o.to_tables(o.terms([{'name': 'ketchup'}]));"
        "assert 'torch' not in sys.modules"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_term_takes_weight_one_and_the_first_prefixes_by_default():
    (term,) = objectives.terms([{"name": "kl"}])

    assert term == objectives.Term(name="kl", weight=1.0, prefixes="data", objective=Kl())


def test_fields_of_a_table_become_fields_of_the_objective():
    (term,) = objectives.terms([{"name": "kl", "temperature": 2, "tail": "renormalise"}])

    assert term.objective == Kl(temperature=2.0, tail="renormalise")


def test_a_term_needs_what_its_objective_needs():
    (term,) = objectives.terms([{"name": "kl", "temperature": 2.0}])

    assert term.needs == Kl(temperature=2.0).needs


def test_a_mix_keeps_its_order():
    assert [term.name for term in objectives.terms(MIX)] == ["ketchup", "nll", "kl"]


def test_tables_write_every_default_out():
    (table,) = objectives.to_tables(objectives.terms([{"name": "kl"}]))

    assert table == {
        "name": "kl",
        "weight": 1.0,
        "prefixes": "data",
        "temperature": 1.0,
        "tail": "bucket",
    }


def test_tables_give_the_same_terms_again():
    terms = objectives.terms(MIX)

    assert objectives.terms(objectives.to_tables(terms)) == terms


def test_tables_have_one_json_text():
    tables = objectives.to_tables(objectives.terms(MIX))

    assert json.loads(canonical(tables)) == list(tables)


def test_an_unknown_objective_is_refused_with_the_nearest():
    error = refusal({"name": "ketchp"})

    assert error.message.startswith("`ketchp` is not an objective; nearest: `ketchup`")
    assert error.hint == "ketchup objectives"


def test_an_unknown_field_is_refused_with_the_nearest():
    error = refusal({"name": "ketchup", "kk": 4})

    assert error.message.startswith(
        "`objective.kk` is not a field of ketchup; nearest: `objective.k`"
    )
    assert error.hint == "ketchup objectives ketchup"


def test_an_unknown_choice_is_refused_with_the_nearest():
    error = refusal({"name": "ketchup", "value": "softmx"})

    assert error.message.startswith("`softmx` is not a value of `objective.value`; nearest: `soft")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "has no `name`"),
        ({"name": 3}, "has no `name`"),
        ({"name": "ketchup", "k": "4"}, "expected `int`, got `str`"),
        ({"name": "ketchup", "k": True}, "expected `int`, got `bool`"),
        ({"name": "ketchup", "k": 2.5}, "expected `int`, got `float`"),
        ({"name": "ketchup", "k": 0}, "`k` is 0; it must be at least 1"),
        ({"name": "ketchup", "clip": -1.0}, "`clip` is -1; it must be at least 0"),
        ({"name": "ketchup", "clip": float("nan")}, "`clip` is nan"),
        ({"name": "ketchup", "clip": float("inf")}, "`clip` is inf"),
        ({"name": "ketchup", "scale": 0.0}, "`scale` is 0"),
        ({"name": "ketchup", "entropy": -0.1}, "`entropy` is -0.1"),
        ({"name": "kl", "temperature": 0.0}, "`temperature` is 0"),
        ({"name": "nll", "label_smoothing": 1.5}, "at least 0 and at most 1"),
        ({"name": "nll", "weight": 0}, "weight of `nll` is `0`"),
        ({"name": "nll", "weight": "1"}, "weight of `nll` is `1`"),
        ({"name": "nll", "weight": float("inf")}, "weight of `nll` is `inf`"),
        ({"name": "nll", "prefixes": "student"}, "cannot learn from completions of `student`"),
        ({"name": "ketchup", "prefixes": "data"}, "cannot learn from completions of `data`"),
        ({"name": "nll", "prefixes": "studnt"}, "not a source of completions"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(table, message):
    assert message in refusal(table).message


def test_a_loss_without_terms_is_refused():
    assert "no terms" in refusal().message


def test_an_objective_may_not_stand_twice_on_the_same_completions():
    assert "stands twice" in refusal({"name": "nll"}, {"name": "nll", "weight": 2.0}).message


def test_an_objective_may_stand_on_two_sources_of_completions():
    terms = objectives.terms([{"name": "kl"}, {"name": "kl", "prefixes": "student"}])

    assert [term.prefixes for term in terms] == ["data", "student"]


def test_terms_of_one_batch_may_not_ask_for_two_teacher_temperatures():
    error = refusal({"name": "ketchup"}, {"name": "kl", "prefixes": "student", "temperature": 2.0})

    assert "temperatures 1 and 2" in error.message


def test_terms_of_different_batches_may_ask_for_two_teacher_temperatures():
    terms = objectives.terms([{"name": "ketchup"}, {"name": "kl", "temperature": 2.0}])

    assert [term.needs.temperature for term in terms] == [1.0, 2.0]


def test_a_term_without_a_teacher_goes_with_any_temperature():
    nll, kl = objectives.terms([{"name": "nll"}, {"name": "kl", "temperature": 2.0}])

    assert (nll.needs | kl.needs).temperature == 2.0
