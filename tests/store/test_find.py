import shutil
from pathlib import Path

import msgspec
import pytest
from storing import building, numbered, publish

from ketchup_cli.errors import ArtifactError, Damaged, NotFound
from ketchup_cli.store import manifest as manifests
from ketchup_cli.store.find import (
    artifacts,
    as_input,
    file_input,
    find,
    give_name,
    lineage,
)
from ketchup_cli.store.layout import Store


def test_an_artifact_is_found_by_its_name(store: Store) -> None:
    artifact = publish(store)
    give_name(store, "en-nl", artifact)

    assert find(store, "en-nl") == artifact


@pytest.mark.parametrize("length", [4, 8, 64])
def test_an_artifact_is_found_by_the_beginning_of_its_id(store: Store, length: int) -> None:
    artifact = publish(store)

    assert find(store, artifact.id[:length]) == artifact


def test_three_digits_are_too_few_for_an_id(store: Store) -> None:
    artifact = publish(store)

    with pytest.raises(NotFound, match="no artifact"):
        find(store, artifact.id[:3])


def test_digits_that_begin_two_ids_are_refused_and_both_are_listed(store: Store) -> None:
    one = publish(store)
    twin = one.id[:8] + "0" * 56
    store.object_path("model", twin).mkdir(parents=True)

    with pytest.raises(NotFound, match=r"beginning of 2 ids") as caught:
        find(store, one.id[:8])

    assert f"corpus `{one.id[:16]}`" in caught.value.message
    assert f"model `{twin[:16]}`" in caught.value.message


def test_the_kind_that_is_asked_for_decides_between_two_ids(store: Store) -> None:
    one = publish(store)
    store.object_path("model", one.id[:8] + "0" * 56).mkdir(parents=True)

    assert find(store, one.id[:8], kind="corpus") == one


@pytest.mark.parametrize("by", ["name", "id"])
def test_an_artifact_of_another_kind_is_refused_with_both_kinds(store: Store, by: str) -> None:
    artifact = publish(store)
    give_name(store, "en-nl", artifact)

    with pytest.raises(NotFound, match="is a corpus, not a model"):
        find(store, {"name": "en-nl", "id": artifact.id}[by], kind="model")


def test_an_unknown_name_is_answered_with_the_nearest_three(store: Store) -> None:
    for name in ("kl-student", "kl-studont", "ketchup-student", "zzz", "kl-teacher"):
        give_name(store, name, publish(store))

    with pytest.raises(NotFound) as caught:
        find(store, "kl-studnt")

    assert caught.value.exit_code == 2
    assert caught.value.message.endswith("nearest: `kl-studont`, `kl-student`, `ketchup-student`")


def test_in_an_empty_store_nothing_is_found(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "nowhere", create=False)

    with pytest.raises(NotFound, match="no artifact `en-nl` in the store"):
        find(store, "en-nl")


def test_a_number_a_name_never_had_is_refused(store: Store) -> None:
    give_name(store, "en-nl", publish(store))

    with pytest.raises(NotFound, match="given 1 times, there is no `en-nl@2`"):
        find(store, "en-nl@2")


@pytest.mark.parametrize("text", ["", "@1", "en-nl@0", "en-nl@-1", "../names/en-nl", "\x00", "@"])
def test_text_that_names_nothing_is_not_found(store: Store, text: str) -> None:
    give_name(store, "en-nl", publish(store))

    with pytest.raises(NotFound):
        find(store, text)


def test_a_name_whose_artifact_is_gone_says_so(store: Store) -> None:
    artifact = publish(store)
    give_name(store, "en-nl", artifact)
    shutil.rmtree(artifact.path)

    with pytest.raises(NotFound, match=f"`{artifact.id[:8]}`, which is no longer in the store"):
        find(store, "en-nl")


def test_all_artifacts_are_listed_by_kind_and_id(store: Store) -> None:
    made = [numbered(store, n, kind=kind) for n in range(3) for kind in ("model", "corpus")]

    listed = list(artifacts(store))

    assert listed == sorted(made, key=lambda artifact: (artifact.kind, artifact.id))


def test_what_is_under_construction_is_not_listed(store: Store) -> None:
    with building(store) as build:
        build.write_bytes("a", b"1")

        assert list(artifacts(store)) == []


def test_a_damaged_artifact_does_not_hide_the_others(store: Store) -> None:
    bad, good = numbered(store, 1), numbered(store, 2)
    (bad.path / "manifest.json").write_bytes(b"{}")
    told: list[ArtifactError] = []

    listed = list(artifacts(store, on_error=told.append))

    assert listed == [good]
    assert [type(error) for error in told] == [Damaged]


def test_a_damaged_artifact_is_an_error_where_nobody_listens(store: Store) -> None:
    (publish(store).path / "manifest.json").write_bytes(b"{}")

    with pytest.raises(Damaged):
        list(artifacts(store))


def test_the_lineage_follows_the_inputs_to_the_beginning(store: Store) -> None:
    corpus = numbered(store, 1)
    model = numbered(store, 2, kind="model", of=(as_input(corpus, "corpus"),))
    cache = numbered(
        store, 3, kind="teacher-cache", of=(as_input(model, "teacher"), as_input(corpus, "corpus"))
    )

    tree_of = lineage(store, cache)

    assert (tree_of.artifact, tree_of.state) == (cache, "present")
    assert [(node.role, node.artifact) for node in tree_of.parents] == [
        ("teacher", model),
        ("corpus", corpus),
    ]
    assert [node.artifact for node in tree_of.parents[0].parents] == [corpus]


def test_a_missing_ancestor_is_stated(store: Store) -> None:
    corpus = numbered(store, 1)
    model = numbered(store, 2, kind="model", of=(as_input(corpus, "corpus", label="en-nl@1"),))
    shutil.rmtree(corpus.path)

    (parent,) = lineage(store, model).parents

    assert (parent.state, parent.label, parent.artifact) == ("missing", "en-nl@1", None)


def test_an_ancestor_with_other_content_than_was_read_is_stated(store: Store) -> None:
    corpus = numbered(store, 1)
    model = numbered(store, 2, kind="model", of=(as_input(corpus, "corpus"),))
    shutil.rmtree(corpus.path)
    publish(store, {"a": b"other"}, spec={"seed": 1})

    (parent,) = lineage(store, model).parents

    assert parent.state == "changed"


def test_a_plain_file_in_the_lineage_is_outside(store: Store, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(b"x")
    corpus = numbered(store, 1, of=(file_input(tmp_path / "train.jsonl", "train"),))

    (parent,) = lineage(store, corpus).parents

    assert (parent.state, parent.kind, parent.label) == ("outside", "file", "train.jsonl")


def test_an_artifact_that_claims_to_be_its_own_ancestor_is_damage(store: Store) -> None:
    given = as_input(numbered(store, 1), "corpus")
    artifact = numbered(store, 2, of=(given,))
    entry = msgspec.structs.replace(artifact.manifest.inputs[0], id=artifact.id)
    forged = msgspec.structs.replace(artifact.manifest, inputs=(entry,))
    (artifact.path / "manifest.json").write_bytes(manifests.encode(forged))

    with pytest.raises(Damaged, match="its own ancestor"):
        lineage(store, find(store, artifact.id))
