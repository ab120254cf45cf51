import json
import threading

import pytest
from storing import numbered, publish, tree

from ketchup_cli.errors import Damaged, SpecError, TooNew
from ketchup_cli.spec import canonical
from ketchup_cli.store.find import (
    check_name,
    find,
    give_name,
    name_of,
    names,
)
from ketchup_cli.store.layout import Store


def test_a_name_means_the_artifact_it_was_given_to_last(store: Store) -> None:
    give_name(store, "en-nl", numbered(store, 1))
    newest = numbered(store, 2)
    give_name(store, "en-nl", newest)

    assert find(store, "en-nl") == newest


def test_a_number_after_the_name_finds_what_it_meant_before(store: Store) -> None:
    made = [numbered(store, seed) for seed in range(3)]
    given = [give_name(store, "en-nl", artifact) for artifact in made]

    assert given == ["en-nl@1", "en-nl@2", "en-nl@3"]
    assert [find(store, name) for name in given] == made


def test_a_name_keeps_its_history_oldest_first(store: Store) -> None:
    made = [numbered(store, seed) for seed in range(3)]
    for artifact in made:
        give_name(store, "en-nl", artifact)

    assert [entry.id for entry in names(store)["en-nl"]] == [artifact.id for artifact in made]


def test_giving_a_name_to_what_it_means_already_changes_nothing(store: Store) -> None:
    artifact = publish(store)

    given = [give_name(store, "en-nl", artifact) for _ in range(2)]

    assert (given, len(names(store)["en-nl"])) == (["en-nl@1", "en-nl@1"], 1)


def test_a_name_given_back_to_an_older_artifact_gets_a_new_number(store: Store) -> None:
    old, new = numbered(store, 1), numbered(store, 2)
    for artifact in (old, new):
        give_name(store, "en-nl", artifact)

    assert give_name(store, "en-nl", old) == "en-nl@3"
    assert find(store, "en-nl") == old


def test_names_given_at_the_same_time_all_stay(store: Store) -> None:
    made = [numbered(store, seed) for seed in range(8)]
    threads = [threading.Thread(target=give_name, args=(store, "en-nl", it)) for it in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {entry.id for entry in names(store)["en-nl"]} == {artifact.id for artifact in made}


def test_a_half_written_name_of_a_killed_run_is_replaced(store: Store) -> None:
    artifact = publish(store)
    (store.staging / "names.part").write_bytes(b'{"his')

    give_name(store, "en-nl", artifact)

    assert find(store, "en-nl") == artifact
    assert "names.part" not in tree(store.staging)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "-x", ".x", "a b", "a@1", "a\n", "\ud800", "x" * 65, "a\x00"]
)
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="cannot be a name"):
        check_name(name)


@pytest.mark.parametrize("name", ["cafe", "2026", "ab" * 32])
def test_a_name_that_looks_like_an_id_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="could be taken for an id"):
        check_name(name)


@pytest.mark.parametrize("name", ["en-nl", "K4", "student_v1.2", "\u65e5\u672c\u8a9e", "abc", "x"])
def test_names_in_any_script_are_kept(store: Store, name: str) -> None:
    artifact = publish(store)
    give_name(store, name, artifact)

    assert (find(store, name), list(names(store))) == (artifact, [name])


def test_composed_and_decomposed_letters_are_the_same_name(store: Store) -> None:
    artifact = publish(store)
    give_name(store, "e\u0301e\u0301n", artifact)

    assert find(store, "\u00e9\u00e9n") == artifact


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"ketchup_names":1}', b"\xff", b"[" * 9999]
)
def test_a_name_file_that_makes_no_sense_is_damage(store: Store, content: bytes) -> None:
    store.names.mkdir()
    store.name_path("en-nl").write_bytes(content)

    with pytest.raises(Damaged, match=r"en-nl\.json"):
        names(store)


def test_a_name_file_of_a_newer_version_is_refused(store: Store) -> None:
    store.names.mkdir()
    store.name_path("en-nl").write_text('{"ketchup_names": 2, "unheard_of": 1}')

    with pytest.raises(TooNew, match="names version 2, this one knows 1"):
        names(store)


def test_an_artifact_is_called_by_its_name_and_number(store: Store) -> None:
    old, new = numbered(store, 1), numbered(store, 2)
    for artifact in (old, new):
        give_name(store, "en-nl", artifact)

    assert (name_of(store, old.id), name_of(store, new.id)) == ("en-nl@1", "en-nl@2")


def test_an_artifact_without_a_name_has_none(store: Store) -> None:
    assert name_of(store, publish(store).id) is None


def test_a_name_file_is_canonical_json(store: Store) -> None:
    give_name(store, "en-nl", publish(store))

    content = store.name_path("en-nl").read_bytes()
    assert content == canonical(json.loads(content)) + b"\n"
