"""Examples that were taken from the same documents."""

import json
from pathlib import Path

import comparing
import fault_server as fs
import msgspec
from fault_server import serving
from judgements import judged, spec, two

from ketchup_cli.stages import judge
from ketchup_cli.store.find import as_input
from ketchup_cli.store.layout import Store


async def says_tie(with_: fs.Conversation) -> None:
    await with_.send(fs.completion(fs.verdict("tie")))


def test_examples_of_one_document_are_drawn_together(tmp_path: Path) -> None:
    inputs = two(tmp_path)
    corpus = comparing.publish(
        Store.open(tmp_path / "runs"),
        "corpus",
        recipe={"languages": ["en", "nl"], "document_field": "doc"},
        file="test.jsonl",
        rows=[
            msgspec.structs.replace(example, document=f"d{number // 20}")
            for number, example in enumerate(comparing.EXAMPLES)
        ],
    )
    inputs["corpus"] = as_input(corpus, "corpus")

    with serving([says_tie]) as server:
        asked = spec(server.address, tmp_path, controls=0)
        told = dict(judge.plan(asked, inputs))
        made = judged(tmp_path, inputs, asked)

    found = json.loads((made.path / "judge.json").read_text())
    assert told["items"] == "60 share a document or a source: 3 independent ones"
    assert found["clusters"] == {"count": 3, "shared": 60, "largest": 20}
    assert found["figures"][0]["claim"].endswith("3 of 30 independent items")
