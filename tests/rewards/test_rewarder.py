"""What a reward comes to: metrics as they are scored, patterns, the user's own functions, failures."""

from pathlib import Path

import pytest

from ketchup_cli.errors import DataError, RewardError, SpecError
from ketchup_cli.rewards.reward import Answer, Attempt, Reward, joined
from ketchup_cli.rewards.rewarder import Rewarder, check, function_of
from ketchup_cli.scoring import bleu, rouge
from ketchup_cli.specs import RewardSpec

OWN = """
import os, time

def length(prompt, completion, references):
    print("a line on stdout")
    return len(completion.split()) / len(references[0].split())

def same(prompt, completion, references):
    return completion in references

def odd(prompt, completion, references):
    if completion == "raise":
        raise ValueError("no such word")
    if completion == "hang":
        time.sleep(60)
    if completion == "nan":
        return float("nan")
    if completion == "die":
        os._exit(3)
    if completion == "text":
        return "1"
    return 0.5
"""
ANSWER = "2 + 3 = <<2+3=5>>5\n#### 5"


def attempt(text, *references, finished=True):
    return Attempt(
        prompt="a question", text=text, references=references or ("een huis",), finished=finished
    )


def rewards_of(attempts, *, files=None, **fields):
    with Rewarder(RewardSpec(**fields), files=files or {}) as rewarder:
        return rewarder.rewards(attempts)


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("own") / "own.py"
    path.write_text(OWN, encoding="utf-8")
    return path


# metrics: what `score` says, as a share of 1


def test_exact_match_is_right_and_earns_1():
    found = rewards_of([attempt("een huis "), attempt("een boom")], correct="exact")

    assert found == [Reward(correct=True, value=1.0), Reward(correct=False, value=0.0)]


def test_the_number_of_an_answer_is_read_as_gsm8k_numeric_reads_it():
    texts = ["so 5.0", "it is 6", "no number"]
    found = rewards_of([attempt(text, ANSWER) for text in texts], correct="gsm8k-numeric")

    assert [reward.correct for reward in found] == [True, False, False]


def test_a_reference_without_a_number_is_an_error_and_no_failure():
    with pytest.raises(DataError, match="holds no number"):
        rewards_of([attempt("5", "five")], correct="gsm8k-numeric")


@pytest.mark.parametrize("name", ["bleu", "chrf", "rougeL"])
def test_a_metric_earns_its_value_of_the_text_alone(name):
    texts, references = ["een klein huis staat hier", "een boom"], ["een huis staat hier nu", "x"]
    module = rouge if name == "rougeL" else bleu
    (measured,) = module.measure([name], texts, [[reference] for reference in references])

    found = rewards_of(
        [attempt(text, reference) for text, reference in zip(texts, references, strict=True)],
        shaped=name,
    )

    assert [reward.value for reward in found] == [value / 100 for value in measured.items]


def test_right_and_earned_are_two_questions():
    (found,) = rewards_of([attempt("een huis hier")], correct="exact", shaped="rouge1")

    assert found.correct is False
    assert found.value == pytest.approx(0.8)  # 2 of 2 words found, 2 of 3 words right


@pytest.mark.parametrize(("threshold", "right"), [(0.8, True), (0.9, False)])
def test_a_shaped_reward_alone_is_right_from_its_threshold_on(threshold, right):
    (found,) = rewards_of([attempt("een huis hier")], shaped="rouge1", threshold=threshold)

    assert found.correct is right


def test_a_cut_completion_is_wrong_unless_it_is_judged():
    cut = [attempt("een huis", finished=False), attempt("een huis")]

    assert [one.correct for one in rewards_of(cut, correct="exact")] == [False, True]
    assert [one.correct for one in rewards_of(cut, correct="exact", cut="judged")] == [True, True]


# patterns


def test_a_group_must_read_the_same_as_in_a_reference():
    texts = ["#### 5", "#### 6", "5"]
    found = rewards_of(
        [attempt(text, ANSWER) for text in texts], correct="regex", pattern=r"#### (\S+)"
    )

    assert [reward.correct for reward in found] == [True, False, False]


def test_a_pattern_without_a_group_must_be_found():
    texts = ["#### 7", "seven"]
    found = rewards_of([attempt(text) for text in texts], correct="regex", pattern="####")

    assert [reward.correct for reward in found] == [True, False]


def test_a_pattern_that_never_ends_is_stopped_and_the_next_text_is_judged():
    found = rewards_of(
        [attempt("a" * 40 + "b"), attempt("aa")],
        correct="regex",
        pattern="(?:a|a)*$",
        time_limit_s=0.3,
    )

    assert [reward.failure for reward in found] == ["timed out", ""]
    assert found[1].correct is True


# the user's own


def test_a_function_of_a_file_says_what_is_earned(own):
    (found,) = rewards_of([attempt("een")], shaped="own:length", files={"own:length": own})

    assert found == Reward(correct=False, value=0.5)


def test_a_function_may_say_what_is_right(own):
    found = rewards_of(
        [attempt("een huis"), attempt("x")],
        correct="own:same",
        shaped="own:length",
        files={"own:same": own, "own:length": own},
    )

    assert found == [Reward(correct=True, value=1.0), Reward(correct=False, value=0.5)]


def test_every_way_to_fail_is_named_and_the_others_are_judged(own):
    texts = ["raise", "fine", "hang", "fine", "nan", "die", "text", "fine"]
    found = rewards_of(
        [attempt(text) for text in texts],
        shaped="own:odd",
        files={"own:odd": own},
        time_limit_s=0.3,
    )

    assert [reward.failure for reward in found] == [
        "raised", "", "timed out", "", "not finite", "died", "not a number", ""
    ]  # fmt: skip
    assert found[0].detail == "ValueError: no such word"
    assert {reward.value for reward in found if not reward.failure} == {0.5}
    assert {reward.value for reward in found if reward.failure} == {None}


def test_a_function_of_right_and_wrong_that_says_something_else_failed(own):
    (found,) = rewards_of([attempt("x")], correct="own:odd", files={"own:odd": own})

    assert (found.failure, found.detail) == ("not right or wrong", "0.5")


@pytest.mark.parametrize(
    ("text", "message"),
    [("def f(", "SyntaxError"), ("x = 1", "AttributeError"), ("1 / 0", "ZeroDivisionError")],
    ids=["no Python", "no such function", "fails on import"],
)
def test_a_file_that_cannot_be_used_ends_the_work(text, message, tmp_path):
    path = tmp_path / "broken.py"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(RewardError, match=message):
        rewards_of([attempt("x")], shaped="broken:f", files={"broken:f": path})


# what is refused before any work


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"correct": "exakt"}, "nearest: `exact`"),
        ({"correct": "bleu"}, "`bleu` is not a value of `reward.correct`"),
        ({"shaped": "ter"}, "`ter` is not a value of `reward.shaped`"),
        ({"shaped": "own:not a name"}, "does not name a function"),
        ({"shaped": "../own:f"}, "does not name a function"),
        ({"correct": "regex"}, "has no `reward.pattern`"),
        ({"correct": "exact", "pattern": "x"}, "no reward is `regex`"),
        ({"correct": "regex", "pattern": "("}, "no regular expression"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_a_reward_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(SpecError, match=message):
        check(RewardSpec(**fields))


def test_without_a_name_there_is_nothing_to_ask():
    with pytest.raises(SpecError, match="no reward is named"):
        rewards_of([attempt("x")])


def test_a_dotted_module_is_a_file_in_a_folder():
    assert function_of("a.b:c") == ("a/b.py", "c")


def test_a_failed_answer_to_either_question_is_the_reward_s():
    failed = Answer(value=None, failure="raised", detail="x")

    assert joined(Answer(value=1.0), failed, threshold=1.0).failure == "raised"
    assert joined(failed, Answer(value=1.0), threshold=1.0).correct is None
