import json
from pathlib import Path
from typing import Any

import comparing
import fault_server as fs
import msgspec
import pytest
from fault_server import serving
from judgements import judged, make_inputs, rows, spec, two

from ketchup_cli.errors import JudgeRefused, MismatchError, SpecError, Unjudged
from ketchup_cli.reporting import SilentReporter
from ketchup_cli.spec import identity, to_table
from ketchup_cli.spec_judge import JudgeSpec, OneJudgeSpec, OwnTaskSpec
from ketchup_cli.stages import judge

KEY = "sk-never-on-a-disk-1234567890"


async def prefers_references(with_: fs.Conversation) -> None:
    """Choose the candidate that shares more with the reference it is shown."""
    shown = with_.body["messages"][1]["content"]
    if "<<REFERENCE" not in shown:  # a question to see what the server can do
        await with_.send(fs.completion(fs.verdict("1")))
        return

    def block(label: str) -> list[str]:
        return shown.split(f"<<{label} ")[1].split(">>\n")[1].split("\n<<END")[0].split()

    reference = block("REFERENCE")
    shared = [
        sum(one == other for one, other in zip(block(f"CANDIDATE {slot}"), reference, strict=False))
        for slot in (1, 2)
    ]
    word = "tie" if shared[0] == shared[1] else "1" if shared[0] > shared[1] else "2"
    await with_.send(fs.completion(fs.verdict(word)))


def test_the_better_system_is_preferred_and_every_call_is_a_row(tmp_path: Path) -> None:
    inputs = two(tmp_path)

    with serving([prefers_references]) as server:
        made = judged(tmp_path, inputs, spec(server.address, tmp_path))

    found = json.loads((made.path / "judge.json").read_text())
    assert found["figures"][0]["claim"] == "this judge prefers good to bad in quality"
    assert made.manifest.summary["note"] == found["figures"][0]["claim"]
    assert len(rows(made)) == 60 * 2 + found["judges"][0]["controls"]["asked"]
    assert found["judges"][0]["controls"]["asked"] == 20


def test_how_hard_one_tries_is_no_part_of_what_is_made(tmp_path: Path) -> None:
    one = spec("http://a/v1", tmp_path)
    other = msgspec.structs.replace(one, concurrency=3, budget=1.0, price_prompt=2.0, timeout_s=9.0)

    assert identity(one) == identity(other)
    assert identity(one) != identity(msgspec.structs.replace(one, model="another"))
    assert set(to_table(one)) - set(identity(one)) == JudgeSpec.asides | JudgeSpec.later


def test_a_replay_makes_the_same_bytes_and_opens_no_socket(tmp_path: Path) -> None:
    inputs = two(tmp_path)
    with serving([prefers_references]) as server:
        asked = spec(server.address, tmp_path, concurrency=16)
        first = judged(tmp_path, inputs, asked)
        sent, connected = len(server.bodies), server.connections
        (tmp_path / "again").mkdir()
        again = judged(
            tmp_path / "again",
            make_inputs(tmp_path / "again", comparing.written(0.1), comparing.written(0.6, seed=1)),
            msgspec.structs.replace(asked, cache_only=True, concurrency=1),
        )

        assert (len(server.bodies), server.connections) == (sent, connected)
    assert again.digest == first.digest


def test_the_key_is_in_no_byte_of_a_run_with_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KETCHUP_API_KEY", KEY)
    reporter = SilentReporter()
    script = [prefers_references, prefers_references, fs.fails(500), prefers_references]

    with serving(script) as server:
        judged(tmp_path, two(tmp_path), spec(server.address, tmp_path), reporter)
    with serving([fs.fails(401, "bad key")]) as other, pytest.raises(JudgeRefused) as caught:
        judged(tmp_path, two(tmp_path), spec(other.address, tmp_path))

    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY.encode() not in written
    assert KEY not in f"{reporter.notes} {caught.value!r} {caught.value.hint}"


def test_too_many_unjudged_publish_nothing_unless_allowed(tmp_path: Path) -> None:
    async def mute(with_: fs.Conversation) -> None:
        await with_.send(fs.completion("hm" if with_.number > 1 else fs.verdict("tie")))

    inputs = two(tmp_path)
    with serving([mute]) as server:
        asked = spec(server.address, tmp_path, examples=5)
        with pytest.raises(Unjudged) as caught:
            judged(tmp_path, inputs, asked)
        made = judged(tmp_path, inputs, msgspec.structs.replace(asked, max_unjudged=1.0))

    assert caught.value.exit_code == 5
    assert "10 of 10 calls came to nothing" in caught.value.message
    assert made.manifest.summary["unjudged"] == {"fake": {"invalid_json": 10}}


class Watching(SilentReporter):
    """Keeps what stands beside the count, and is that count too."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str] = []
        self.done = 0

    def progress(self, label: str, *, total: int, unit: str, done: int = 0) -> Any:
        del label, unit
        self.total, self.done = total, done
        return self

    def advance(self, count: int = 1, *, tokens: int = 0) -> None:
        del tokens
        self.done += count

    def status(self, text: str) -> None:
        self.shown.append(text)

    def __enter__(self) -> "Watching":
        return self

    def __exit__(self, *_: object) -> None:
        return None


def test_progress_says_what_is_done_unjudged_and_spent(tmp_path: Path) -> None:
    script = [prefers_references] * 4 + [fs.sends(fs.completion("hm"))]
    seen = Watching()

    with serving(script) as server:
        asked = spec(
            server.address,
            tmp_path,
            examples=3,
            controls=0,
            max_unjudged=1.0,
            concurrency=1,
            price_prompt=10.0,
        )
        judged(tmp_path, two(tmp_path), asked, seen)

    assert (seen.done, seen.total) == (6, 6)
    assert "0 unjudged" in seen.shown[0]
    assert seen.shown[-1] == "0 open  4 unjudged  0.0120 spent"


def test_the_plan_counts_calls_and_touches_nothing(tmp_path: Path) -> None:
    inputs = two(tmp_path)
    with serving([prefers_references]) as server:
        asked = spec(server.address, tmp_path, price_prompt=1.0, budget=5.0)
        before = dict(judge.plan(asked, inputs))
        connections = server.connections
        judged(tmp_path, inputs, asked)
        after = dict(judge.plan(asked, inputs))

    assert connections == 0
    assert "60 items x 1 aspects x 2 orders, and 20 controls = 140 calls" in before["plan"]
    assert before["cost"].startswith("0 kept, 140 to ask, at most ")
    assert "of a budget of 5.0" in before["cost"]
    assert before["time"].startswith("not known")
    assert after["cost"].startswith("140 kept, 0 to ask, at most 0 tokens in and 0 out")
    assert after["time"] == "nothing is to be asked"
    # (z_0.975 + z_0.8) sqrt(1/4 / 60), and with a variance of 1/4 - 0.4/4
    assert "win rate of 68.1% or more without ties, of 64.0% where 40% tie" in before["power"]


def test_the_time_is_that_of_kept_answers_or_of_the_pace_that_was_set(tmp_path: Path) -> None:
    inputs = two(tmp_path)
    asked = spec("http://judge/v1", tmp_path, requests_per_minute=70.0)

    assert dict(judge.plan(asked, inputs))["time"] == "about 2 min"


def test_what_is_left_to_ask_and_what_it_costs_is_between_two_bounds(tmp_path: Path) -> None:
    inputs = two(tmp_path)
    asked = spec("http://judge/v1", tmp_path, price_prompt=1.0, price_completion=2.0)

    found = judge.estimate(asked, inputs)

    assert (found.calls, found.completion) == (140, 140 * 512)
    assert found.cost
    assert float(found.cost[1]) == pytest.approx((found.prompt + 2 * found.completion) / 1e6)
    assert 0 < found.cost[0] < found.cost[1]


async def prefers_what_people_wrote(with_: fs.Conversation) -> None:
    shown = with_.body["messages"][1]["content"]
    texts = [
        shown.split(f"<<CANDIDATE {slot} ")[1].split(">>\n")[1].split("\n<<END")[0]
        for slot in (1, 2)
    ]
    written = {example.references[0] for example in comparing.EXAMPLES}
    known = [text in written for text in texts]
    word = "tie" if known[0] == known[1] else "1" if known[0] else "2"
    await with_.send(fs.completion(fs.verdict(word)))


def test_systems_are_held_against_what_people_wrote(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, comparing.written(1.0), comparing.written(1.0, seed=1))
    changes = {"against": "reference", "with_reference": False, "controls": 0}
    with serving([prefers_what_people_wrote]) as server:
        made = judged(tmp_path, inputs, spec(server.address, tmp_path, **changes))

    figures = json.loads((made.path / "judge.json").read_text())["figures"]
    assert [(one["x"], one["y"]) for one in figures] == [
        ("good", "reference"),
        ("bad", "reference"),
    ]
    assert all(one["losses"] == 60 for one in figures)


def test_every_system_meets_its_opponent_and_no_other(tmp_path: Path) -> None:
    texts = [comparing.written(share, seed=number) for number, share in enumerate((0.1, 0.3, 0.6))]
    asked = spec("http://judge/v1", tmp_path, against="teacher", controls=0)

    plan = dict(judge.plan(asked, make_inputs(tmp_path, *texts)))

    assert plan["plan"].startswith(
        "good and bad against teacher, 60 items x 1 aspects x 2 orders x 2"
    )


async def rates_by_length(with_: fs.Conversation) -> None:
    shown = with_.body["messages"][1]["content"]
    text = shown.split("<<CANDIDATE ")[1].split(">>\n")[1].split("\n<<END")[0]
    told = json.dumps({"reason": "long", "rating": min(5, len(text.split()))})
    await with_.send(fs.completion(told))


def test_ratings_of_one_system_are_published_with_their_mean(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, comparing.written(0.1))
    with serving([rates_by_length]) as server:
        asked = spec(server.address, tmp_path, mode="rating", systems=("good",), examples=8)
        made = judged(tmp_path, inputs, asked)
        plan = dict(judge.plan(asked, inputs))

    found = json.loads((made.path / "judge.json").read_text())
    lines = (made.path / "judgments.jsonl").read_bytes().splitlines()
    asked_of = [json.loads(line) for line in lines]
    own = [row["value"] for row in asked_of if row["control"] is None]
    assert found["ratings"][0]["mean"] == pytest.approx(sum(own) / 8)
    assert found["figures"] == found["differences"] == []
    assert len(asked_of) == 8 + found["judges"][0]["controls"]["asked"]
    assert "good rated from 1 to 5, 8 items x 1 aspects, and" in plan["plan"]
    assert found["judges"][0]["abilities"]["refused"].keys() == {"logprob"}


def test_a_judge_of_the_family_that_wrote_is_warned_of_before_it_is_asked(tmp_path: Path) -> None:
    asked = spec("http://judge/v1", tmp_path, systems=("qwen-student", "bad"), model="Qwen3-32B")

    plan = judge.plan(asked, two(tmp_path))

    (warning,) = [text for label, text in plan if label == "warning"]
    assert warning.startswith("Qwen3-32B is of the family Qwen, and so is qwen-student")


WRONG = {
    "no-server": ({"base_url": ""}, "`base_url` is empty"),
    "no-model": ({"model": ""}, "`model` is empty"),
    "aspect": ({"aspects": ("qualty",)}, "`qualty` is not an aspect"),
    "aspect-twice": ({"aspects": ("quality", "quality")}, "each once"),
    "task": ({"task": "poems"}, "`poems` is not a task"),
    "one-system": ({"systems": ("good",)}, "1 systems are named"),
    "judge-twice": (
        {"judges": (OneJudgeSpec(model="a"), OneJudgeSpec(model="a"))},
        "the judge `a` is named twice",
    ),
    "itself": ({"against": "good"}, "`good` cannot be held against itself"),
    "rated": ({"mode": "rating", "against": "reference"}, "`reference` is nobody's opponent"),
    "shown": ({"against": "reference"}, "would know the opponent's text"),
    "budget-alone": ({"budget": 1.0}, "means nothing without the prices of `fake`"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_what_makes_no_sense_is_said_before_anything_is_sent(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    asked = msgspec.structs.replace(spec("http://127.0.0.1:9/v1", tmp_path), **changes)

    with pytest.raises(SpecError) as caught:
        judge.plan(asked, two(tmp_path))

    assert message in caught.value.message
    assert caught.value.hint


def test_texts_of_another_split_are_refused(tmp_path: Path) -> None:
    inputs = make_inputs(
        tmp_path, comparing.written(0.1), comparing.written(0.6, seed=1), split="dev"
    )

    with pytest.raises(MismatchError, match="answer split `dev`"):
        judge.plan(spec("http://127.0.0.1:9/v1", tmp_path), inputs)


def test_the_same_texts_under_two_names_are_refused(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, comparing.written(0.1), comparing.written(0.1))

    with pytest.raises(SpecError, match="`good` and `bad` are the same texts"):
        judge.plan(spec("http://judge/v1", tmp_path), inputs)


def test_an_own_task_is_shown_in_its_own_words(tmp_path: Path) -> None:
    own = OwnTaskSpec(line="Write a headline.", aspects={"bite": "Is it short and sharp?"})

    with serving([prefers_references]) as server:
        asked = spec(server.address, tmp_path, own_task=own, aspects=("bite",), examples=3)
        made = judged(tmp_path, two(tmp_path), asked)

    shown = server.bodies[-1]["messages"][1]["content"]
    assert shown.startswith("Task: Write a headline.")
    assert "Criterion: bite. Is it short and sharp?" in shown
    assert json.loads((made.path / "judge.json").read_text())["aspects"] == own.aspects


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(0o644)

    with pytest.raises(SpecError, match="others may read"):
        judged(
            tmp_path, two(tmp_path), spec("http://127.0.0.1:9/v1", tmp_path, api_key_file=str(file))
        )
