import re
from pathlib import Path
from typing import Any

import pytest

from ketchup_cli.cli.project import Project
from ketchup_cli.cli.settings import (
    TEXT_FLAG,
    Layer,
    Settings,
    flatten,
    resolve_settings,
    set_layers,
)
from ketchup_cli.errors import SpecError
from ketchup_cli.objectives import load
from ketchup_cli.specs import DistillSpec
from ketchup_cli.stages import STAGES


def settings(stage: str, *sets: str, toml: Any = None, preset: str | None = None) -> Settings:
    project = Project(
        folder=Path(),
        path=Path("ketchup.toml"),
        store=Path("runs"),
        names={},
        tables={stage: toml} if toml else {},
    )
    return resolve_settings(STAGES[stage], project, set_layers(sets), preset=preset)


def test_the_toml_wins_over_the_default_and_a_flag_over_both():
    found = settings("train", "updates=3", toml={"updates": 2, "seed": 7})

    assert (found.spec.updates, found.spec.seed) == (3, 7)
    assert found.origins == {"updates": "--set", "seed": "ketchup.toml"}


def test_the_last_assignment_wins():
    assert settings("train", "updates=3", "updates=4").spec.updates == 4


def test_one_setting_of_a_table_leaves_the_stages_own_defaults_in_it():
    assert settings("seqkd", "decoding.max_new_tokens=9").spec.decoding.method == "beam"


def test_the_spec_is_complete_whatever_was_said():
    assert set(flatten(settings("train").table)) == set(flatten(settings("train", "seed=1").table))


def test_a_value_of_the_wrong_type_is_refused():
    with pytest.raises(SpecError, match="expected `int`"):
        settings("train", "updates=often")


@pytest.mark.parametrize(
    ("stage", "assignment", "message"),
    [
        (
            "new-model",
            "architecture=bert",
            "`bert` is not a value of `architecture`; nearest: `bart`",
        ),
        ("seqkd", "decoding.method=beem", "`beem` is not a value of `decoding.method`; nearest"),
        ("lab", 'values=["max", "maks"]', "`maks` is not a value of `values`; nearest: `max`"),
        ("lab", 'endings=["papers"]', "`papers` is not a value of `endings`; nearest: `paper`"),
    ],
    ids=["plain", "nested", "annotated list", "list"],
)
def test_a_word_that_is_no_choice_is_refused_with_the_nearest(stage, assignment, message):
    with pytest.raises(SpecError, match=re.escape(message)):
        settings(stage, assignment)


def test_the_objective_starts_as_ketchup_with_every_field_written_out():
    (term,) = settings("distill").table["objective"]

    assert term["name"] == "ketchup"
    assert {"weight", "prefixes", "k", "ending"} <= set(term)


def test_set_on_the_objective_changes_its_first_term():
    terms = [{"name": "ketchup", "k": 2}, {"name": "nll", "weight": 0.5}]

    found = settings("distill", "objective.k=8", toml={"objective": terms})

    assert [term["name"] for term in found.table["objective"]] == ["ketchup", "nll"]
    assert found.table["objective"][0]["k"] == 8
    assert found.table["objective"][1]["weight"] == 0.5


def test_another_objective_starts_afresh():
    toml = {"objective": {"name": "ketchup", "k": 2, "weight": 3.0}}

    (term,) = settings("distill", "objective.name=kl", toml=toml).table["objective"]

    assert (term["name"], term["weight"]) == ("kl", 1.0)
    assert "k" not in term


def test_the_same_objective_keeps_what_the_toml_says_of_it():
    toml = {"objective": {"name": "ketchup", "k": 2}}

    (term,) = settings("distill", "objective.name=ketchup", toml=toml).table["objective"]

    assert term["k"] == 2


def test_the_default_preset_lies_over_the_defaults_and_under_the_toml():
    preset = load("ketchup").presets["default"]

    found = settings("distill", toml={"updates": 7})

    assert found.spec.updates == 7
    assert found.spec.dropout == preset["dropout"] != DistillSpec().dropout
    assert found.origins["dropout"] == "preset default"


def test_a_named_preset_brings_the_objectives_own_fields():
    own = load("ketchup").presets["paper"]["objective"]

    (term,) = settings("distill", preset="paper").table["objective"]

    assert {key: term[key] for key in own} == own


def test_set_wins_over_the_preset_inside_the_objective():
    found = settings("distill", "objective.clip=3.0", preset="paper")

    assert found.table["objective"][0]["clip"] == 3.0
    assert found.origins["objective.0.clip"] == "--set"
    assert found.origins["objective.0.value"] == "preset paper"


def test_a_preset_may_bring_further_terms():
    found = settings("distill", "objective.name=layer_match", preset="paper")

    terms = {term["name"]: term["weight"] for term in found.table["objective"]}
    assert terms == {"layer_match": 3.0, "nll": 1.0, "kl": 1.0}
    assert found.origins["objective.1.name"] == "preset paper"


def test_terms_of_a_preset_give_way_to_a_mix_of_one_s_own():
    toml = {"objective": [{"name": "layer_match"}, {"name": "nll", "weight": 0.5}]}

    found = settings("distill", toml=toml, preset="paper")

    terms = {term["name"]: term["weight"] for term in found.table["objective"]}
    assert terms == {"layer_match": 3.0, "nll": 0.5}
    assert found.origins["objective.1.name"] != "preset paper"


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(SpecError, match="`papr` is not a preset of ketchup; nearest: `paper`"):
        settings("distill", preset="papr")


def test_an_unknown_objective_is_refused():
    with pytest.raises(SpecError, match="`ketchap` is not an objective; nearest: `ketchup`"):
        settings("distill", "objective.name=ketchap")


def test_an_unknown_field_of_the_objective_is_refused():
    with pytest.raises(SpecError, match=r"`objective.kk` is not a field of ketchup"):
        settings("distill", "objective.kk=4")


def test_an_objective_that_is_no_term_is_refused():
    with pytest.raises(SpecError, match="is not a term"):
        settings("distill", "objective=3")


def test_layers_are_flattened_to_dotted_keys():
    table = {"a": {"b": 1}, "c": [{"d": 2}], "e": [3, 4]}

    assert flatten(table) == {"a.b": 1, "c.0.d": 2, "e": [3, 4]}


def test_an_assignment_is_a_layer_of_its_own():
    assert set_layers(["a.b=1"]) == (Layer(origin="--set", table={"a": {"b": 1}}),)


def with_text(name: str, *sets: str) -> Settings:
    project = Project(
        folder=Path(), path=Path("ketchup.toml"), store=Path("runs"), names={}, tables={}
    )
    named = Layer(origin="--objective", table={"objective": {"name": name}})
    text = Layer(origin=TEXT_FLAG, table={"objective": {"prefixes": "teacher"}})
    return resolve_settings(STAGES["distill"], project, (named, text, *set_layers(sets)))


@pytest.mark.parametrize(
    ("name", "prefixes"),
    [
        ("nll", ["teacher"]),
        ("kl", ["teacher"]),
        ("dpkd", ["pairs"]),
        ("js", ["student", "teacher"]),
    ],
)
def test_text_that_is_named_is_learnt_from_without_taking_the_other_half(name, prefixes):
    terms = with_text(name).table["objective"]

    assert sorted(term["prefixes"] for term in terms) == prefixes


def test_prefixes_that_are_set_win_over_text_that_is_named():
    (term,) = with_text("kl", "objective.prefixes=data").table["objective"]

    assert term["prefixes"] == "data"
