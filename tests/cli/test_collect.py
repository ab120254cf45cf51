"""`ketchup gc`: a list unless it is told to remove."""

from pathlib import Path

import pytest

from ketchup_cli.store import find
from ketchup_cli.store.build import begin
from ketchup_cli.store.layout import Store


@pytest.fixture
def loose(folder: Path, corpus) -> str:
    """The id of an artifact without a name, beside the corpus `words`."""
    del corpus
    store = Store.open(folder / "runs")
    recipe = {"kind": "corpus", "version": 1, "spec": {"seed": 9}, "inputs": []}
    with begin(store, **recipe, label="test") as build:
        build.write_bytes("a", b"a")
        artifact = build.commit(summary={}, signature="x/1", environment={}, seconds=1.0)
    return artifact.id


def ids(folder: Path) -> set[str]:
    return {artifact.id for artifact in find.artifacts(Store.open(folder / "runs"))}


def test_without_a_word_it_lists_and_removes_nothing(ketchup, loose: str, folder: Path) -> None:
    before = ids(folder)
    result = ketchup("gc", "--older", "0")

    assert [line.split()[:3] for line in result.out.splitlines()[1:]] == [
        ["artifact", "corpus", loose[:8]]
    ]
    assert "nothing was removed" in result.err
    assert ids(folder) == before


def test_told_to_remove_it_removes_what_no_name_means(ketchup, loose: str, folder: Path) -> None:
    result = ketchup("gc", "--older", "0", "--remove", "--json")

    assert [item["id"] for item in result.json["items"]] == [loose]
    assert result.json["removed"] is True
    assert ids(folder) == {find.find(Store.open(folder / "runs"), "words").id}


def test_what_is_younger_than_a_day_is_left_alone(ketchup, loose: str, folder: Path) -> None:
    result = ketchup("gc", "--remove")

    assert "there is nothing that no name refers to" in result.err
    assert loose in ids(folder)


def test_what_the_file_of_settings_names_by_its_id_is_kept(
    ketchup, loose: str, folder: Path
) -> None:
    toml = (folder / "ketchup.toml").read_text(encoding="utf-8")
    (folder / "ketchup.toml").write_text(toml.replace('"words"', f'"{loose[:12]}"'), "utf-8")

    assert ketchup("gc", "--older", "0", "--json").json["items"] == []
