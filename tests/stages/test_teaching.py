from pathlib import Path

import pytest
import storing
import tiny
from distilling import make_cache, make_inputs, make_pseudo_targets, make_spec

from ketchup_cli.errors import DataError, MismatchError, SpecError
from ketchup_cli.specs import DistillSpec
from ketchup_cli.stages import STAGES, distill
from ketchup_cli.store.artifact import Input, folder_input
from ketchup_cli.store.layout import Store


def plan_lines(spec: DistillSpec, inputs: dict[str, Input]) -> list[str]:
    return [text for heading, text in distill.plan(spec, inputs) if heading == "teacher"]


def test_the_plan_says_who_speaks_for_the_teacher_and_why(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["cache"] = make_cache(tmp_path, given, top=8)
    label = given["cache"].label
    mix = make_spec({"name": "ketchup"}, {"name": "kl"})

    assert plan_lines(make_spec(), given) == [f"{label}, cached, for kl"]
    assert plan_lines(make_spec(teacher="live"), given) == ["teacher, live, for kl"]
    assert plan_lines(mix, given) == [
        "teacher, live, for ketchup: a teacher cache knows only completions scored before; ketchup"
        " learns from the student's own",
        f"{label}, cached, for kl",
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperatures": (2.0,)}, "holds temperatures 2.0; the objective asks 1.0"),
        ({"top": 0}, "holds statistics only"),
        ({"split": "dev"}, "is about references of split `dev`"),
    ],
    ids=["temperature", "statistics", "split"],
)
def test_a_cache_that_cannot_serve_is_passed_over_by_auto_and_refused_on_demand(
    settings: dict, message: str, tmp_path: Path
) -> None:
    given = make_inputs(tmp_path)
    given["cache"] = make_cache(tmp_path, given, **settings)
    (line,) = plan_lines(make_spec(), given)
    alone = {role: item for role, item in given.items() if role != "teacher"}

    assert line.startswith("teacher, live, for kl: teacher cache")
    assert message in line
    for spec, used in ((make_spec(teacher="cache"), given), (make_spec(), alone)):
        with pytest.raises(MismatchError, match=message):
            distill.plan(spec, used)


def test_a_cache_of_references_does_not_speak_about_pseudo_targets(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["cache"] = make_cache(tmp_path, given)
    spec = make_spec({"name": "kl", "prefixes": "teacher"})
    (line,) = plan_lines(spec, given)

    assert line.endswith("the objective learns from pseudo-targets of `train`")
    with pytest.raises(MismatchError, match="is about references of split `train`") as caught:
        distill.plan(make_spec({"name": "kl", "prefixes": "teacher"}, teacher="cache"), given)
    assert "completions=pseudo-targets" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("tables", "teacher", "needed", "used"),
    [
        (({"name": "kl"},), "auto", [], ["teacher", "cache"]),
        (({"name": "kl"},), "live", ["teacher"], ["teacher"]),
        (({"name": "kl"},), "cache", [], ["cache"]),
        (({"name": "ketchup"},), "auto", ["teacher"], ["teacher"]),
        (({"name": "ketchup"}, {"name": "kl"}), "auto", ["teacher"], ["teacher", "cache"]),
        (({"name": "nll"},), "auto", [], []),
    ],
)
def test_inputs_are_looked_for_as_the_objective_needs_them(
    tables: tuple[dict, ...], teacher: str, needed: list[str], used: list[str]
) -> None:
    spec = make_spec(*tables, teacher=teacher)
    roles = [role for role in STAGES["distill"].roles if role.name in {"teacher", "cache"}]

    assert [role.name for role in roles if role.needed(spec)] == needed
    assert [role.name for role in roles if role.used(spec)] == used


def assert_refused(
    folder: Path,
    spec: DistillSpec,
    inputs: dict[str, Input],
    match: str,
    *,
    error: type[Exception] = MismatchError,
) -> Exception:
    store = Store.open(folder / "refused")
    with pytest.raises(error, match=match) as caught:
        tiny.run_stage(store, "distill", spec, inputs)
    assert storing.leftovers(store) == []
    assert not store.object_path("model", "0").parent.exists()
    return caught.value


def without_models(folder: Path, inputs: dict[str, Input]) -> dict[str, Input]:
    """The same inputs, but no model can be loaded."""
    (folder / "empty").mkdir()
    empty = tiny.inputs(student=folder / "empty", teacher=folder / "empty")
    return {role: empty.get(role, item) for role, item in inputs.items()}


def test_an_objective_on_own_completions_refuses_a_cache_before_a_model_is_loaded(
    tmp_path: Path,
) -> None:
    given = without_models(tmp_path, make_inputs(tmp_path))
    spec = make_spec({"name": "ketchup"}, teacher="cache")
    error = assert_refused(tmp_path, spec, given, "ketchup learns from the student's own")

    assert error.exit_code == 3
    assert error.hint == "--set teacher=live"


def test_a_cache_that_is_asked_for_and_not_there_is_refused(tmp_path: Path) -> None:
    given = without_models(tmp_path, make_inputs(tmp_path))
    error = assert_refused(tmp_path, make_spec(teacher="cache"), given, "and there is none")

    assert error.exit_code == 3
    assert "ketchup cache-teacher" in str(error.hint)


def test_a_missing_teacher_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    given = without_models(tmp_path, make_inputs(tmp_path))
    del given["teacher"]
    error = assert_refused(tmp_path, make_spec(), given, "kl needs a teacher; there is neither")

    assert error.exit_code == 3
    assert "--teacher NAME" in str(error.hint)


def test_a_cache_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    other = make_inputs(tmp_path / "other", "gpt2")
    given["cache"] = make_cache(tmp_path / "other", other)
    del given["teacher"]
    error = assert_refused(tmp_path, make_spec(), given, "was made with tokenizer")

    assert error.exit_code == 3
    assert "seqkd" in str(error.hint)


def test_a_cache_of_another_corpus_is_refused_by_its_first_example(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["cache"] = make_cache(tmp_path, given)
    other = tiny.make_corpus(tmp_path / "other", seed=7)
    given["corpus"] = tiny.inputs(corpus=other)["corpus"]
    error = assert_refused(tmp_path, make_spec(), given, "holds another text for example")

    assert "cache-teacher" in str(error.hint)


def test_a_cache_of_fewer_examples_is_refused_before_the_first_update(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["cache"] = make_cache(tmp_path, given, examples=20)

    assert_refused(tmp_path, make_spec(), given, r"holds no row for example .*, number 20")


def test_a_teacher_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    other = tiny.make_policy_folder(tmp_path / "other", "gpt2")
    given["teacher"] = tiny.inputs(teacher=other)["teacher"]
    error = assert_refused(tmp_path, make_spec(), given, "tokenizers differ")

    assert error.exit_code == 3


def test_pseudo_targets_of_another_corpus_are_refused(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["pseudo-targets"] = make_pseudo_targets(tmp_path, given)
    other = tiny.make_corpus(tmp_path / "other", seed=7)
    given["corpus"] = tiny.inputs(corpus=other)["corpus"]
    spec = make_spec({"name": "nll", "prefixes": "teacher"})

    assert_refused(tmp_path, spec, given, "belongs to no example of this split")


def test_prompts_that_are_too_long_are_named(tmp_path: Path) -> None:
    spec = make_spec({"name": "ketchup"}, max_prompt_tokens=3)

    assert_refused(tmp_path, spec, make_inputs(tmp_path), "the limits are", error=DataError)


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    spec = make_spec(split="trian")

    assert_refused(tmp_path, spec, make_inputs(tmp_path), "not a split", error=SpecError)


def test_a_cache_of_another_teacher_is_passed_over_by_auto_and_refused_on_demand(
    tmp_path: Path,
) -> None:
    given = make_inputs(tmp_path)
    given["cache"] = make_cache(tmp_path, given)
    other = tiny.make_policy_folder(tmp_path / "other", "t5", seed=7)
    given["teacher"] = folder_input(other, "teacher")
    (line,) = plan_lines(make_spec(), given)

    assert line.startswith("other, live, for kl: teacher cache")
    assert "was made from another teacher, `teacher`; the teacher here is `other`" in line
    with pytest.raises(MismatchError, match="was made from another teacher"):
        distill.plan(make_spec(teacher="cache"), given)


def test_text_of_another_teacher_is_taken_with_a_warning(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    given["pseudo-targets"] = make_pseudo_targets(tmp_path, given)
    other = tiny.make_policy_folder(tmp_path / "other", "t5", seed=7)
    apart = given | {"teacher": folder_input(other, "teacher")}
    spec = make_spec({"name": "tvd"})

    assert "warning" not in dict(distill.plan(spec, given))
    assert (
        "was written by `teacher`, and tvd takes it for text of `other`"
        in (dict(distill.plan(spec, apart))["warning"])
    )
    assert "warning" not in dict(distill.plan(make_spec({"name": "nll"}), apart))
