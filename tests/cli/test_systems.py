import re
import shutil
from pathlib import Path

import pytest
from tiny import make_examples

from ketchup_cli.cli.request import System
from ketchup_cli.cli.systems import parse_systems
from ketchup_cli.errors import SpecError
from ketchup_cli.records import Generation
from ketchup_cli.spec import Table
from ketchup_cli.store.build import begin
from ketchup_cli.store.find import Artifact, as_input, find, give_name
from ketchup_cli.store.layout import Store

ROWS = make_examples(40)


def test_a_plain_name_is_a_system_of_one_run() -> None:
    assert parse_systems(["kl", "k4"], seeds=None) == (
        System(name="kl", runs=("kl",)),
        System(name="k4", runs=("k4",)),
    )


def test_a_name_with_runs_is_a_system_of_several() -> None:
    (first, _) = parse_systems(["kl=kl-s0, kl-s1,kl@3", "k4"], seeds=None)

    assert first == System(name="kl", runs=("kl-s0", "kl-s1", "kl@3"))


def test_seeds_stand_for_names_that_end_in_their_number() -> None:
    (first, _) = parse_systems(["kl", "k4"], seeds=3)

    assert first == System(name="kl", runs=("kl-s0", "kl-s1", "kl-s2"))


def test_a_folder_is_called_by_its_last_part() -> None:
    (first, _) = parse_systems(["./models/teacher", "k4"], seeds=None)

    assert first == System(name="teacher", runs=("./models/teacher",))


@pytest.mark.parametrize(
    ("typed", "seeds", "message"),
    [
        (["kl"], None, "takes two systems or more, and 1 is named"),
        (["kl", "kl"], None, "two systems are called `kl`"),
        (["kl=a,a", "k4"], None, "names a run twice"),
        (["kl=a,", "k4"], None, "or none"),
        (["a,b", "k4"], None, "have no name together"),
        (["kl=a,b", "k4"], 2, "--seeds says nothing"),
    ],
    ids=["one", "one name twice", "one run twice", "an empty run", "no name", "seeds of runs"],
)
def test_what_names_no_systems_is_refused(
    typed: list[str], seeds: int | None, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        parse_systems(typed, seeds=seeds)


# what names mean in a store


def publish(store: Store, kind: str, name: str, *, recipe: Table, inputs=()) -> Artifact:
    with begin(store, kind=kind, version=1, spec=recipe, inputs=inputs, label=name) as build:
        if kind == "corpus":
            build.write_rows("test.jsonl", ROWS)
            build.write_json("report.json", {"languages": ["en", "nl"]})
        elif kind == "generations":
            build.write_rows("generations.jsonl", recipe["rows"])
        else:
            build.write_json("config.json", {"name": name})
        made = build.commit(summary={}, signature="", environment={}, seconds=0.0)
    give_name(store, name, made)
    return made


def write(store: Store, model: Artifact, name: str, *, wrong: int, split: str = "test") -> Artifact:
    """Publish what a model wrote: the references, the first few of them wrong."""
    rows = [
        Generation(
            id=row.id,
            text="iets anders" if number < wrong else row.references[0],
            tokens=(1,),
            stop="eos",
            logp=-1.0,
        )
        for number, row in enumerate(ROWS)
    ]
    table = {"split": split, "rows": [_plain(row) for row in rows]}
    inputs = [as_input(model, "model")]
    return publish(store, "generations", name, recipe=table, inputs=inputs)


def _plain(row: Generation) -> Table:
    return {"id": row.id, "text": row.text, "tokens": [1], "stop": row.stop, "logp": row.logp}


@pytest.fixture
def store(folder: Path) -> Store:
    """A store with a corpus and the models kl and k4, k4 the better one."""
    made = Store.open(folder / "runs")
    publish(made, "corpus", "words", recipe={})
    for name, wrong in (("kl", 20), ("k4", 4)):
        model = publish(made, "model", name, recipe={"name": name})
        write(made, model, f"{name}-test", wrong=wrong)
    return made


FEW = ("--set", "resamples=1000", "--set", 'metrics=["chrf"]')


@pytest.mark.usefixtures("store")
def test_models_are_compared_by_what_they_wrote_for_the_split(ketchup) -> None:
    result = ketchup("compare", "kl", "k4", *FEW, "--json")

    assert result.code == 0, result.err
    (pair,) = result.json["summary"]["pairs"]
    assert (pair["one"], pair["other"], pair["claim"]) == ("kl", "k4", "higher")
    assert "You may say: on these 40 examples of test, this run of k4 is better" in result.err


def test_texts_and_their_scores_name_a_system_too(ketchup, store) -> None:
    texts = find(store, "kl-test")
    publish(
        store, "scores", "kl-scores", recipe={}, inputs=[as_input(texts, "generations", label="x")]
    )

    by_model, by_scores = (
        ketchup("compare", one, "k4-test", *FEW, "--json", "--dry-run").json["inputs"]
        for one in ("kl", "kl-scores")
    )

    assert [item["digest"] for item in by_model] == [item["digest"] for item in by_scores]
    assert by_model[0] == {"role": "system-1.1", "label": "kl-test@1", "digest": texts.digest}


def test_a_folder_is_a_model_whose_text_is_looked_up(ketchup, store, folder) -> None:
    copied = folder / "teacher"
    shutil.copytree(find(store, "kl").path, copied, ignore=shutil.ignore_patterns("manifest.json"))

    result = ketchup("compare", "./teacher", "k4", *FEW, "--dry-run")

    assert result.code == 0, result.err
    assert "kl-test@1" in result.err


@pytest.mark.usefixtures("store")
def test_a_model_without_text_for_the_split_is_refused(ketchup) -> None:
    result = ketchup("compare", "kl", "k4", "--split", "dev")

    assert result.code == 2
    assert "there is no text of `kl` for split `dev`" in result.err
    assert "hint: ketchup generate --model kl --split dev" in result.err


def test_a_model_with_several_texts_for_the_split_is_refused(ketchup, store) -> None:
    write(store, find(store, "kl"), "kl-again", wrong=7)

    result = ketchup("compare", "kl", "k4")

    assert result.code == 2
    assert "`kl` has 2 generations of split `test`:" in result.err
    assert "`kl-again@1`" in result.err
    assert "name one of them" in result.err


@pytest.mark.usefixtures("store")
def test_another_kind_of_artifact_is_no_system(ketchup) -> None:
    result = ketchup("compare", "words", "k4")

    assert result.code == 2
    assert "`words` is a corpus; a system is a model, generations or scores" in result.err


@pytest.mark.usefixtures("store")
def test_a_name_nobody_knows_is_refused_with_the_nearest(ketchup) -> None:
    result = ketchup("compare", "kl-tset", "k4")

    assert result.code == 2
    assert "no artifact `kl-tset`" in result.err
    assert "`kl-test`" in result.err


@pytest.mark.usefixtures("store")
def test_one_text_under_two_names_is_no_two_seeds(ketchup) -> None:
    result = ketchup("compare", "kl=kl,kl-test", "k4")

    assert result.code == 2
    assert "`kl` and `kl-test` are the same texts, so they are no two runs of kl" in result.err


@pytest.mark.usefixtures("store")
def test_seeds_that_are_not_there_are_named(ketchup) -> None:
    result = ketchup("compare", "kl", "k4", "--seeds", "2")

    assert result.code == 2
    assert "no artifact `kl-s0`" in result.err


# the gate


@pytest.mark.usefixtures("store")
def test_a_gain_that_is_sure_opens_the_gate(ketchup) -> None:
    result = ketchup("compare", "kl", "k4", *FEW, "--min-delta", "5", "--fail-if-worse", "--json")

    assert result.code == 0
    assert result.json["gate"] == {"passed": True, "failures": []}


@pytest.mark.usefixtures("store")
def test_a_gain_that_is_not_sure_shuts_the_gate_with_3(ketchup) -> None:
    result = ketchup("compare", "kl", "k4", *FEW, "--min-delta", "99", "--json")

    assert result.code == 3
    (reason,) = result.json["gate"]["failures"]
    assert reason.startswith("k4 against kl in chrF: a gain of +")
    assert reason.endswith("is not surely +99 or more")


@pytest.mark.usefixtures("store")
def test_the_gate_is_asked_again_where_everything_is_done_already(ketchup) -> None:
    ketchup("compare", "kl", "k4", *FEW)

    result = ketchup("compare", "kl", "k4", *FEW, "--min-delta", "99")

    assert result.code == 3
    assert "already done" in result.err
    assert "shut: k4 against kl" in result.err


@pytest.mark.usefixtures("store")
def test_a_worse_system_shuts_the_gate(ketchup) -> None:
    result = ketchup("compare", "k4", "kl", *FEW, "--fail-if-worse")

    assert result.code == 3
    assert "shut: kl is worse than k4 in chrF" in result.err


@pytest.mark.usefixtures("store")
def test_a_loss_within_the_margin_opens_the_gate(ketchup) -> None:
    result = ketchup("compare", "k4", "kl", *FEW, "--min-delta", "-99")

    assert result.code == 0
    assert result.err.splitlines()[-1].split() == ["gate", "open"]


@pytest.mark.usefixtures("store")
def test_less_of_a_metric_that_is_better_below_is_a_gain(ketchup) -> None:
    ter = ("--set", "resamples=1000", "--set", 'metrics=["ter"]')

    assert ketchup("compare", "kl", "k4", *ter, "--min-delta", "5").code == 0
    assert ketchup("compare", "k4", "kl", *ter, "--min-delta", "-5").code == 3


@pytest.mark.usefixtures("store")
def test_a_dry_run_asks_no_gate(ketchup) -> None:
    result = ketchup("compare", "kl", "k4", "--min-delta", "99", "--dry-run")

    assert result.code == 0
    assert "nothing was written" in result.err


@pytest.mark.usefixtures("store")
def test_stdout_carries_the_id_alone(ketchup) -> None:
    result = ketchup("compare", "kl", "k4", *FEW)

    assert len(result.out) == 9


@pytest.mark.usefixtures("store")
def test_no_p_is_shown_without_its_test(ketchup) -> None:
    both = ("--set", "resamples=1000", "--set", 'metrics=["chrf", "exact"]')

    one_test = ketchup("compare", "kl", "k4", *FEW).err
    two_tests = ketchup("compare", "kl", "k4", *both).err

    assert re.search(r"p of paired bootstrap +0\.00\d+ \(Holm 0\.00\d+\)", one_test)
    assert "  paired bootstrap: 0.0" in two_tests
    assert "  exact McNemar: " in two_tests


def test_several_texts_of_one_model_are_told_from_seeds_of_training(ketchup, store) -> None:
    write(store, find(store, "kl"), "kl-again", wrong=23)

    result = ketchup("compare", "kl=kl-test,kl-again", "k4", *FEW, "--json")

    assert result.json["summary"]["warnings"] == [
        "runs of `kl` are texts of one model: they cover how text is drawn, not how a model is"
        " trained"
    ]


def test_runs_of_a_system_are_named_by_what_was_typed(ketchup, store) -> None:
    write(store, find(store, "kl"), "kl-again", wrong=23)

    result = ketchup("compare", "kl=kl-test,kl-again", "k4", *FEW, "--dry-run")

    assert "system-1.2      kl-again@1" in result.err
    assert "from kl=kl-again" in result.err
