"""What `ketchup judge` asks before it sends anything; there is no server behind its addresses."""

import io
from collections.abc import Sequence

import comparing
import pytest

from ketchup_cli.cli.judging import is_this_machine
from ketchup_cli.store.build import begin
from ketchup_cli.store.find import as_input, give_name
from ketchup_cli.store.layout import Store

HERE, THERE = "http://127.0.0.1:9/v1", "http://judge.example/v1"
TOML = """\
[names]
corpus = "words"
teacher = "large"

[judge]
model = "fake"
task = "translation"
aspects = ["quality"]
max_wait_s = 0
attempts = 1
"""


def written(store: Store, name: str, texts: Sequence[str]) -> None:
    """Publish a model and what it wrote."""
    with begin(store, kind="model", version=1, spec={"n": name}, inputs=[], label=name) as build:
        build.write_json("config.json", {"name": name})
        model = build.commit(summary={}, signature="", environment={}, seconds=0.0)
    give_name(store, name, model)
    recipe = {"split": "test", "texts": name}
    inputs = [as_input(model, "model")]
    with begin(
        store, kind="generations", version=1, spec=recipe, inputs=inputs, label=name
    ) as build:
        build.write_rows(
            "generations.jsonl",
            [
                {"id": row.id, "text": text, "tokens": [1], "stop": "eos", "logp": -1.0}
                for row, text in zip(comparing.EXAMPLES, texts, strict=True)
            ],
        )
        build.commit(summary={}, signature="", environment={}, seconds=0.0)


@pytest.fixture(autouse=True)
def project(folder, monkeypatch):
    """Two students, a teacher called `large`, and nobody at the keyboard."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    (folder / "ketchup.toml").write_text(TOML, encoding="utf-8")
    store = Store.open(folder / "runs")
    corpus = comparing.publish(
        store,
        "corpus",
        recipe={"languages": ["en", "nl"]},
        file="test.jsonl",
        rows=comparing.EXAMPLES,
    )
    give_name(store, "words", corpus)
    for number, name in enumerate(("one", "two", "large")):
        written(store, name, comparing.written(0.3, seed=number))


def told(result) -> str:
    return " ".join(result.err.split())


def test_texts_leave_this_machine_only_where_somebody_agreed(ketchup) -> None:
    found = ketchup("judge", "one", "two", "--base-url", THERE)

    assert found.code == 2
    assert "would be sent to judge.example" in told(found)
    assert "--yes" in told(found)


MANY = ("--set", "repeats=10", "--set", "controls=0")
ASKED = {
    "many-calls": (MANY, "1,200 calls would be made"),
    "much-cost": (("--set", "price_completion=1000"), "it may cost up to"),
}


@pytest.mark.parametrize(("settings", "message"), ASKED.values(), ids=ASKED)
def test_much_is_asked_of_a_judge_on_this_machine_only_where_somebody_agreed(
    ketchup, settings: tuple[str, ...], message: str
) -> None:
    found = ketchup("judge", "one", "two", "--base-url", HERE, *settings)

    assert found.code == 2
    assert message in told(found)


def test_who_sets_a_budget_has_agreed_to_it(ketchup) -> None:
    settings = (*MANY, "--set", "price_completion=1000", "--budget", "0.1")

    found = ketchup("judge", "one", "two", "--base-url", HERE, *settings)

    # the first call may already cost more
    assert found.code == 8


def test_little_is_asked_without_a_question(ketchup) -> None:
    found = ketchup("judge", "one", "two", "--base-url", HERE, "--set", "examples=2")

    assert found.code in {1, 75}
    assert "--yes" not in told(found)


OPPONENTS = {
    "student": (("one", "--against", "two"), "one against two"),
    "teacher": (("one", "two", "--against", "teacher"), "one and two against teacher"),
    "reference": (("one", "--against", "reference"), "one against reference"),
}


@pytest.mark.parametrize(("typed", "plan"), OPPONENTS.values(), ids=OPPONENTS)
def test_an_opponent_is_a_student_the_teacher_or_what_people_wrote(
    ketchup, typed: tuple[str, ...], plan: str
) -> None:
    found = ketchup("judge", *typed, "--base-url", HERE, "--dry-run")

    assert found.code == 0
    assert f"{plan}, 60 items" in told(found)


def test_several_judges_are_named_with_their_servers_and_all_hosts_are_asked_about(
    ketchup,
) -> None:
    judges = ("--judge", f"small@{HERE}", "--judge", f"org/large@2@{THERE}")

    planned = ketchup("judge", "one", "two", *judges, "--dry-run")
    refused = ketchup("judge", "one", "two", *judges)

    assert f"small at {HERE}, org/large@2 at {THERE}" in told(planned)
    assert "sent to judge.example" in told(refused)


def test_prices_of_one_judge_and_of_all_are_typed_and_questions_repeated(ketchup) -> None:
    judges = ("--judge", f"small@{HERE}", "--judge", f"large@{HERE}")
    prices = ("--price-out", "1", "--price-out", "large=9", "--price-in", "0")

    found = ketchup("judge", "one", "two", *judges, *prices, "--repeats", "2", "--dry-run")

    assert found.code == 0
    assert "60 items x 1 aspects x 2 orders x 2 times, and 20 controls = 260 calls" in told(found)
    # 260 calls of each, with room for 512 tokens at 1 and at 9 a million
    assert f"to {260 * 512 * (1 + 9) / 1e6:.4f}" in told(found)


def test_a_teacher_of_the_judges_family_is_warned_of(ketchup, folder) -> None:
    written(Store.open(folder / "runs"), "my-llama", comparing.written(0.9))

    found = ketchup(
        *("judge", "one", "--against", "my-llama", "--base-url", HERE, "--model", "llama-3.1-70b"),
        "--dry-run",
    )

    assert "llama-3.1-70b is of the family Llama, and so is my-llama" in told(found)


def test_a_system_alone_has_nobody_to_be_held_against(ketchup) -> None:
    found = ketchup("judge", "one", "--base-url", HERE, "--dry-run")

    assert found.code == 2
    assert "--against" in told(found)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "judge.localhost"])
def test_loopback_is_this_machine(host: str) -> None:
    assert is_this_machine(host)


@pytest.mark.parametrize("host", ["judge.example", "10.0.0.1", "localhost.example"])
def test_everything_else_is_another_machine(host: str) -> None:
    assert not is_this_machine(host)
