import asyncio
import itertools
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import fault_server as fs
import pytest
from judged import FORM, SYSTEMS, items

from ketchup_cli.errors import JudgeError, JudgeRefused, OverBudget
from ketchup_cli.judging.budget import Budget, Prices
from ketchup_cli.judging.calls import Call, Item, calls, chosen, controls, pairs
from ketchup_cli.judging.client import Judge, Means
from ketchup_cli.judging.measures import Resampling
from ketchup_cli.judging.pacing import Pace
from ketchup_cli.judging.probe import Abilities, Settings
from ketchup_cli.judging.report import Report, Terms, make_report
from ketchup_cli.judging.responses import Responses
from ketchup_cli.judging.retrying import Limits
from ketchup_cli.judging.rows import judgments
from ketchup_cli.judging.session import Asking, Server, abilities_of, request
from ketchup_cli.judging.tally import Judgment
from ketchup_cli.judging.wire import OpenAIWire

QUICK = Limits(attempt_s=5.0, first_wait_s=0.01, longest_wait_s=0.02)
Taste = Callable[[str, str], str]


def judge_by(taste: Taste) -> fs.Behaviour:
    """Answer by what stands in the two candidates' blocks."""

    async def behave(with_: fs.Conversation) -> None:
        shown = with_.body["messages"][1]["content"]
        found = re.findall(r"<<CANDIDATE [12] \w+>>\n(.*?)\n<<END", shown, re.S)
        await with_.send(fs.completion(fs.verdict(taste(*found))))

    return behave


def fluent(text: str) -> int:
    """Count words that follow each other as in the good texts."""
    words = text.split()
    order = ["the", "bridge", "number", "opens", "again", "on", "Monday", "for", "all"]
    places = [order.index(word) for word in words if word in order]
    return sum(one + 1 == other for one, other in itertools.pairwise(places)) - 9 * (
        "evaluator" in text
    )


def oracle(first: str, second: str) -> str:
    # another item's text is as fluent: it is told by its number, which the oracle knows
    one, other = fluent(first), fluent(second)
    return "tie" if one == other else "1" if one > other else "2"


def ask(
    script: Sequence[fs.Behaviour],
    folder: Path,
    asked: Sequence[Call],
    *,
    most: int = 8,
    budget: Budget | None = None,
    wired: bool = True,
    address: str = "",
) -> tuple[tuple[Judgment, ...], Abilities, fs.FaultServer]:
    async def whole() -> tuple[tuple[Judgment, ...], Abilities, fs.FaultServer]:
        async with fs.FaultServer(list(script)) as server:
            with Responses(folder / "kept.sqlite") as kept:
                async with OpenAIWire(server.address, key="") as wire:
                    means = Means(
                        pace=Pace(most=most), budget=budget or Budget(Prices()), limits=QUICK
                    )
                    where = address or "http://judge/v1"
                    judge = Judge(wire if wired else None, kept, means, address=where)
                    settings = Settings(model="m", max_tokens=64, temperature=0.0, seed=0)
                    to = Server(address=where, settings=settings, protocol="auto", name="m")
                    abilities = await abilities_of(judge, to)
                    asking = Asking(
                        judge,
                        to,
                        asked,
                        abilities=abilities,
                        made=lambda call, said: judgments(call, said, judge="m"),
                    )
                    await asking.replay()
                    await asking.ask(lambda _: None)
            return asking.rows, abilities, server

    return asyncio.run(whole())


def report(rows: Sequence[Judgment], abilities: Abilities) -> Report:
    terms = Terms(
        judges={"m": abilities},
        task=FORM.task,
        aspects=FORM.aspects,
        systems=SYSTEMS,
        how=Resampling(resamples=1000, seed=0),
    )
    return make_report(rows, terms)


def questions(count: int = 40, controlled: int = 20) -> tuple[Call, ...]:
    made = items(count)
    return (
        *calls(made, SYSTEMS, FORM),
        *controls(made, SYSTEMS[:1], FORM, count=controlled, seed=0),
    )


def test_every_item_pair_and_aspect_is_asked_in_both_orders() -> None:
    asked = calls(items(3), SYSTEMS, FORM)

    assert len(asked) == 3 * 1 * 2 * 2
    assert {(call.item, *call.question.aspects, call.order) for call in asked} == {
        (f"{number:03d}", aspect, order)
        for number in range(3)
        for aspect in FORM.aspects
        for order in ("xy", "yx")
    }
    one, other = asked[0].question, asked[2].question
    assert (one.first, one.second) == (other.second, other.first)


def test_every_two_systems_are_a_pair_once() -> None:
    assert pairs(("a", "b", "c")) == (("a", "b"), ("a", "c"), ("b", "c"))


def test_examples_are_drawn_by_seed_and_id_and_not_by_place() -> None:
    made = items(30)

    drawn = chosen(made, 10, seed=1)

    assert {item.id for item in drawn} == {
        item.id for item in chosen(tuple(reversed(made)), 10, seed=1)
    }
    assert drawn == tuple(sorted(drawn, key=lambda item: item.id))
    assert drawn != chosen(made, 10, seed=2)


def test_controls_have_one_right_answer_in_both_slots() -> None:
    found = controls(items(20), SYSTEMS, FORM, count=20, seed=0)

    assert {call.control for call in found} == {
        "identical", "other-item", "cut", "shuffled", "injected",
    }  # fmt: skip
    assert {call.expected for call in found} == {"1", "2", "tie"}
    for call in found:
        good, bad = (
            (call.question.first, call.question.second)
            if call.order == "xy"
            else (call.question.second, call.question.first)
        )
        own = next(item for item in items(20) if item.id == call.item)
        assert good == own.texts[call.x]
        assert (bad == good) is (call.control == "identical")


def test_texts_too_short_to_be_spoilt_give_no_control() -> None:
    short = tuple(
        Item(id=str(n), source="s", reference="r", texts={"good": f"one {n}"}) for n in range(9)
    )

    assert controls(short, ("good",), FORM, count=20, seed=0) == ()


def test_a_judge_with_an_eye_for_it_prefers_the_better_system(tmp_path: Path) -> None:
    rows, abilities, _ = ask([judge_by(oracle)], tmp_path, questions())

    found = report(rows, abilities)

    assert abilities.protocol == "json_schema"
    assert [figure.claim for figure in found.figures] == [
        f"this judge prefers good to bad in {aspect}" for aspect in FORM.aspects
    ]
    kinds = found.judges[0].controls.by_kind
    assert (kinds["identical"], kinds["shuffled"], kinds["injected"]) == ("4/4", "4/4", "4/4")


BIASED = {
    "first-slot": lambda *_: "1",
    "longer": lambda first, second: "1" if len(first) > len(second) else "2",
    "obeys": lambda first, _: "1" if "evaluator" in first else "2",
}


@pytest.mark.parametrize("taste", BIASED.values(), ids=BIASED)
def test_a_biased_judge_is_caught_by_its_controls(tmp_path: Path, taste: Taste) -> None:
    rows, abilities, _ = ask([judge_by(taste)], tmp_path, questions())

    found = report(rows, abilities)

    assert (found.judges[0].controls.accuracy or 0) < 0.7
    assert {figure.claim.partition(":")[0] for figure in found.figures} == {"nothing is claimed"}
    assert found.ranking == ()


def test_a_judge_that_tosses_a_coin_prefers_nobody(tmp_path: Path) -> None:
    draw = random.Random(5)

    rows, abilities, _ = ask(
        [judge_by(lambda *_: draw.choice(["1", "2", "tie"]))], tmp_path, questions()
    )

    for figure in report(rows, abilities).figures:
        assert figure.interval
        assert figure.interval[0] < 0.5 < figure.interval[1]


def test_a_server_that_ignores_the_schema_is_asked_in_the_form_it_can(tmp_path: Path) -> None:
    async def plain(with_: fs.Conversation) -> None:
        text = "VERDICT:" in with_.body["messages"][1]["content"]
        await with_.send(fs.completion("Fine.\nVERDICT: 2" if text else "Sure, here I go"))

    rows, abilities, server = ask([plain], tmp_path, questions(2, 0))

    assert abilities.protocol == "text"
    assert set(abilities.refused) == {"json_schema", "json_object"}
    assert all(row.outcome == "ok" for row in rows)
    assert "response_format" not in server.bodies[-1]


def test_a_server_that_changes_its_model_on_the_way_is_warned_of(tmp_path: Path) -> None:
    async def drifts(with_: fs.Conversation) -> None:
        model = "one" if with_.number < 8 else "other"
        await with_.send(fs.completion(fs.verdict("tie"), model=model))

    rows, abilities, _ = ask([drifts], tmp_path, questions(4, 0))

    found = report(rows, abilities)
    assert found.judges[0].answered_by == ("one fp", "other fp")
    assert any("answered under 2 names" in warning for warning in found.warnings)


def test_a_model_that_gives_no_verdict_in_any_form_is_no_judge(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="no verdict in any form") as caught:
        ask([fs.sends(fs.completion("la la la"))], tmp_path, questions(2, 0))

    assert caught.value.exit_code == 1


def test_a_replay_without_a_server_gives_the_same_rows(tmp_path: Path) -> None:
    asked = questions(6, 5)
    draw = random.Random(2)

    async def mute_on_one(with_: fs.Conversation) -> None:
        mute = "text 3 on a bridge" in with_.body["messages"][1]["content"]
        await with_.send(fs.completion("no" if mute else fs.verdict(draw.choice("12"))))

    rows, _, _ = ask([mute_on_one], tmp_path, asked)
    again, _, server = ask([mute_on_one], tmp_path, asked, wired=False)

    assert again == rows
    assert server.connections == 0
    assert {row.outcome for row in rows} == {"ok", "invalid_json"}


def test_rows_do_not_depend_on_how_many_are_asked_at_once(tmp_path: Path) -> None:
    asked = questions(6, 5)

    one, _, _ = ask([judge_by(oracle)], tmp_path / "one", asked, most=1)
    many, _, _ = ask([judge_by(oracle)], tmp_path / "many", asked, most=16)

    assert one == many


def test_a_run_that_ran_out_of_money_goes_on_where_it_stopped(tmp_path: Path) -> None:
    from decimal import Decimal

    asked = questions(10, 0)
    prices = Prices(prompt=Decimal(10), completion=Decimal(100))

    with pytest.raises(OverBudget) as caught:
        ask([judge_by(oracle)], tmp_path, asked, budget=Budget(prices, Decimal("0.1")), most=2)
    with Responses(tmp_path / "kept.sqlite") as kept:
        spent = kept.spent("")
    rows, _, server = ask([judge_by(oracle)], tmp_path, asked, budget=Budget(prices))

    assert caught.value.exit_code == 8
    assert spent <= Decimal("0.1")
    assert all(row.outcome == "ok" for row in rows)
    assert 0 < len(server.bodies) < len(asked)


def test_a_refused_key_stops_all_workers_at_once(tmp_path: Path) -> None:
    script = [fs.says("1"), fs.says("1"), fs.fails(401)]

    with pytest.raises(JudgeRefused) as caught:
        ask(script, tmp_path, questions(30, 0))

    assert caught.value.exit_code == 4


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_calls_have_a_seed_of_their_own_only_where_chance_decides(temperature: float) -> None:
    settings = Settings(model="m", max_tokens=64, temperature=temperature, seed=5)
    to = Server(address="http://judge/v1", settings=settings, protocol="text")
    asked = calls(items(3), SYSTEMS, FORM)

    seeds = [request(call, to, Abilities(protocol="text")).body["seed"] for call in asked]

    assert len(set(seeds)) == (1 if temperature == 0 else len(asked))
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seeds == [request(call, to, Abilities(protocol="text")).body["seed"] for call in asked]
