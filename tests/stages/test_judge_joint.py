import json
from pathlib import Path

import fault_server as fs
import msgspec
import pytest
from fault_server import serving
from judgements import judged, rows, spec, two

from ketchup_cli.errors import SpecError
from ketchup_cli.spec import identity
from ketchup_cli.stages import judge


async def likes_quality_and_not_coherence(with_: fs.Conversation) -> None:
    """Prefer, for quality, what shares more with the reference; tie in coherence; ignore schemas."""
    shown = with_.body["messages"][1]["content"]
    if "response_format" in with_.body:
        await with_.send(fs.completion("no"))
        return
    if "<<REFERENCE" not in shown:  # a question to see what the server can do
        await with_.send(fs.completion("quality: 1\ncoherence: 1"))
        return

    def block(label: str) -> set[str]:
        return set(shown.split(f"<<{label} ")[1].split(">>\n")[1].split("\n<<END")[0].split())

    known = [len(block(f"CANDIDATE {slot}") & block("REFERENCE")) for slot in (1, 2)]
    word = "tie" if known[0] == known[1] else "1" if known[0] > known[1] else "2"
    await with_.send(fs.completion(f"So.\nquality: {word}\ncoherence: tie"))


def test_all_aspects_of_a_pair_come_from_one_call(tmp_path: Path) -> None:
    inputs = two(tmp_path)
    with serving([likes_quality_and_not_coherence]) as server:
        asked = spec(
            server.address,
            tmp_path,
            aspects=("quality", "coherence"),
            aspect_mode="joint",
            examples=8,
            controls=5,
        )
        plan = dict(judge.plan(asked, inputs))
        made = judged(tmp_path, inputs, asked)
        sent = len(server.bodies)

    found = json.loads((made.path / "judge.json").read_text())
    rates = {figure["aspect"]: figure["win_rate"] for figure in found["figures"]}
    assert plan["plan"].endswith(
        "8 items x 2 orders, and 5 controls = 21 calls, each about 2 aspects"
    )
    # two forms that are ignored, each asked once more, and two plain questions in the third
    assert sent == 21 + 2 * 2 + 2
    assert len(rows(made)) == 8 * 2 * 2 + 5
    assert rates["coherence"] == 0.5 < rates["quality"]
    assert (found["aspect_mode"], found["form"]) == ("joint", "pairwise-joint/1")
    assert found["judges"][0]["controls"]["asked"] == 5
    assert made.manifest.summary["tokens"]["prompt"] == 21 * 100


def test_one_aspect_is_asked_about_in_the_same_words_either_way(tmp_path: Path) -> None:
    inputs = two(tmp_path)
    separate = spec("http://judge/v1", tmp_path, examples=2)
    joint = msgspec.structs.replace(separate, aspect_mode="joint")

    calls = [judge.questions(one, inputs).calls for one in (separate, joint)]

    assert calls[0] == calls[1]
    assert identity(separate) != identity(joint)


def test_one_token_cannot_answer_for_several_aspects(tmp_path: Path) -> None:
    asked = spec(
        "http://judge/v1",
        tmp_path,
        aspects=("quality", "coherence"),
        aspect_mode="joint",
        protocol="logprob",
    )

    with pytest.raises(SpecError, match="one token cannot answer for 2 aspects"):
        judge.plan(asked, two(tmp_path))
