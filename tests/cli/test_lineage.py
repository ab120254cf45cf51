"""Names in a lineage: equal content, several names of one artifact, and what was shown before."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import storing

from ketchup_cli.store import find
from ketchup_cli.store.artifact import Artifact, Input
from ketchup_cli.store.layout import Store


@pytest.fixture
def store(folder: Path) -> Store:
    return Store.open(folder / "runs")


def made(
    store: Store, *names: str, content: bytes = b"w", of: Sequence[Input] = (), kind: str = "model"
) -> Artifact:
    """An artifact of its own recipe, with all these names."""
    spec = {"first name": names[0]}
    artifact = storing.publish(store, {"weights": content}, kind=kind, spec=spec, inputs=of)
    for name in names:
        find.give_name(store, name, artifact)
    return artifact


def read_as(artifact: Artifact, role: str, label: str) -> Input:
    return find.as_input(artifact, role, label=label)


@pytest.fixture
def twins(store: Store) -> tuple[Artifact, Artifact]:
    """Two models of one content, each made from something, and what was made from both."""
    corpus = read_as(made(store, "words", kind="corpus"), "corpus", "words@1")
    one, other = (made(store, name, of=[corpus]) for name in ("kl", "ketchup"))
    assert one.digest == other.digest
    assert one.id != other.id
    used = [read_as(one, "student", "kl@1"), read_as(other, "teacher", "ketchup@1")]
    made(store, "both", content=b"x", of=used)
    return one, other


def lines(ketchup: Callable[..., object], name: str) -> list[str]:
    return ketchup("lineage", name).out.splitlines()  # type: ignore[attr-defined]


def test_models_of_equal_content_stand_under_their_own_names_and_ids(ketchup, twins):
    one, other = twins
    found = {line.split()[1]: line for line in lines(ketchup, "both") if "model" in line}

    assert one.id[:8] in found["kl@1"]
    assert other.id[:8] in found["ketchup@1"]


def test_models_of_equal_content_say_so(ketchup, twins):
    del twins
    found = lines(ketchup, "both")

    assert any(line.endswith("the same content as ketchup@1") and "kl@1" in line for line in found)
    assert any(line.endswith("the same content as kl@1") and "ketchup" in line for line in found)


def test_only_what_is_the_same_artifact_is_not_unfolded_again(ketchup, store):
    corpus = read_as(made(store, "words", kind="corpus"), "corpus", "words@1")
    one = made(store, "kl", of=[corpus])
    used = [read_as(one, "student", "kl@1"), read_as(one, "teacher", "kl@1")]
    made(store, "both", content=b"x", of=used)
    found = lines(ketchup, "both")

    assert found[-1].split()[1:] == ["kl@1", "model", one.id[:8], "see", "above"]
    assert len([line for line in found if "words@1" in line]) == 1


def test_an_artifact_of_two_names_keeps_the_one_it_was_read_by(ketchup, store):
    model = made(store, "kl", "best")
    made(store, "texts", kind="generations", of=[read_as(model, "model", "kl@1")])

    assert lines(ketchup, "texts")[1].startswith("└─ kl@1")


def test_the_second_name_of_an_artifact_points_to_the_first_above(ketchup, store):
    corpus = read_as(made(store, "words", kind="corpus"), "corpus", "words@1")
    model = made(store, "kl", "best", of=[corpus])
    used = [read_as(model, "student", "kl@1"), read_as(model, "teacher", "best@1")]
    made(store, "both", content=b"x", of=used)
    last = lines(ketchup, "both")[-1]

    assert last.startswith("└─ best@1")
    assert last.endswith("see kl@1 above")


def test_the_root_is_called_as_it_was_asked_for(ketchup, store):
    made(store, "kl", "best")

    assert lines(ketchup, "kl")[0].startswith("kl@1")
    assert lines(ketchup, "best")[0].startswith("best@1")


def test_a_name_given_to_something_else_since_is_not_used(ketchup, store):
    model = made(store, "kl")
    used = [read_as(model, "model", "best@1")]
    made(store, "best", content=b"x")
    made(store, "texts", kind="generations", of=used)

    assert lines(ketchup, "texts")[1].startswith("└─ kl@1")


def test_equal_content_stands_in_json_too(ketchup, twins):
    del twins
    document = ketchup("lineage", "kl", "--json").json["lineage"]

    assert document["equal_to"] == ["ketchup@1"]
    assert document["parents"][0]["equal_to"] == []


def test_an_input_is_labelled_as_it_was_typed(ketchup, corpus):
    del corpus
    ketchup("corpus", "--train", "train.jsonl", "--dev", "dev.jsonl.gz", "--name", "second")
    shown = [
        ketchup("new-model", "--corpus", name, "--dry-run", "--json").json["inputs"][0]["label"]
        for name in ("words", "second")
    ]

    assert shown == ["words@1", "second@1"]
