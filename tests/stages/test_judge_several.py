"""Several judges, each on a server of its own."""

import json
from decimal import Decimal
from pathlib import Path

import fault_server as fs
import msgspec
import pytest
from fault_server import serving
from judgements import judged, rows, spec, two

from ketchup_cli.errors import OverBudget, SpecError
from ketchup_cli.spec import identity
from ketchup_cli.spec_judge import OneJudgeSpec
from ketchup_cli.stages import judge

KEY = "sk-never-on-a-disk-1234567890"


async def likes_the_better(with_: fs.Conversation) -> None:
    """Choose by what the disordered text of these tests lacks: the words of the reference."""
    shown = with_.body["messages"][1]["content"]
    if "<<REFERENCE" not in shown:
        await with_.send(fs.completion(fs.verdict("1")))
        return

    def block(label: str) -> list[str]:
        return shown.split(f"<<{label} ")[1].split(">>\n")[1].split("\n<<END")[0].split()

    known = [len(set(block(f"CANDIDATE {slot}")) & set(block("REFERENCE"))) for slot in (1, 2)]
    word = "tie" if known[0] == known[1] else "1" if known[0] > known[1] else "2"
    await with_.send(fs.completion(fs.verdict(word)))


async def likes_the_first(with_: fs.Conversation) -> None:
    await with_.send(fs.completion(fs.verdict("1")))


def test_several_judges_on_several_servers_stand_side_by_side(tmp_path: Path) -> None:
    inputs = two(tmp_path)
    with serving([likes_the_better]) as one, serving([likes_the_first]) as other:
        judges = (
            OneJudgeSpec(model="wise"),
            OneJudgeSpec(model="partial", base_url=other.address),
        )
        made = judged(tmp_path, inputs, spec(one.address, tmp_path, judges=judges, examples=10))

    found = json.loads((made.path / "judge.json").read_text())
    assert [one["name"] for one in found["judges"]] == ["wise", "partial"]
    rates = {figure["judge"]: figure["win_rate"] for figure in found["figures"]}
    assert rates["partial"] == 0.5 < rates["wise"]
    assert {body["model"] for body in other.bodies} == {"partial"}
    assert found["agreement"][0]["pairs"][0]["units"] == 10
    assert {row.judge for row in rows(made)} == {"wise", "partial"}


def test_a_key_is_sent_to_no_other_server_than_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KETCHUP_API_KEY", KEY)
    inputs = two(tmp_path)
    with serving([likes_the_better]) as one, serving([likes_the_first]) as other:
        judges = (OneJudgeSpec(model="a"), OneJudgeSpec(model="b", base_url=other.address))
        judged(tmp_path, inputs, spec(one.address, tmp_path, judges=judges, examples=2))

    assert {sent["authorization"] for sent in one.headers} == {f"Bearer {KEY}"}
    assert KEY not in str(other.headers)


def test_each_judge_has_its_own_price_and_all_share_the_budget(tmp_path: Path) -> None:
    inputs = two(tmp_path)
    with serving([likes_the_better]) as one, serving([likes_the_first]) as other:
        judges = (
            OneJudgeSpec(model="dear", price_completion=1000.0),
            OneJudgeSpec(model="cheap", base_url=other.address),
        )
        asked = spec(
            one.address, tmp_path, judges=judges, examples=5, controls=0, price_completion=10.0
        )
        expense = judge.estimate(asked, inputs)
        made = judged(tmp_path, inputs, asked)
        paid = Decimal(made.manifest.summary["spent"])
        bounded = msgspec.structs.replace(asked, refresh=True, budget=0.5, concurrency=1)
        (tmp_path / "again").mkdir()
        with pytest.raises(OverBudget):
            judged(tmp_path / "again", two(tmp_path / "again"), bounded)

    # ten calls and two plain questions of each, 20 tokens an answer
    assert paid == 12 * 20 * (Decimal(1000) + 10) / 1_000_000
    assert expense.cost
    assert float(expense.cost[1]) == pytest.approx(10 * 512 * (1000 + 10) / 1e6)


def test_a_budget_takes_the_price_of_every_judge(tmp_path: Path) -> None:
    judges = (OneJudgeSpec(model="a", price_prompt=1.0), OneJudgeSpec(model="b"))
    asked = spec("http://judge/v1", tmp_path, judges=judges, budget=1.0)

    with pytest.raises(SpecError, match="means nothing without the prices of `b`"):
        judge.plan(asked, two(tmp_path))


def test_what_a_judge_costs_is_no_part_of_what_is_made(tmp_path: Path) -> None:
    cheap, dear = (
        spec("http://judge/v1", tmp_path, judges=(OneJudgeSpec(model="a", price_prompt=price),))
        for price in (1.0, 9.0)
    )

    assert identity(cheap) == identity(dear)
    assert list(identity(cheap)["judges"]) == [{"model": "a", "base_url": ""}]
