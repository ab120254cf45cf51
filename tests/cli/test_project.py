from pathlib import Path

import pytest

from ketchup_cli.cli.project import load_project, role_names
from ketchup_cli.errors import SpecError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_folder_without_a_file_has_defaults_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    project = load_project(None, store=None)

    assert (project.path, project.store, project.names) == (None, Path("runs"), {})


def test_the_file_of_the_current_folder_is_found(folder):
    del folder
    project = load_project(None, store=None)

    assert project.names["corpus"] == "words"
    assert project.tables["corpus"]["prompt_field"] == "src"


def test_a_file_above_the_current_folder_is_not_looked_for(folder, monkeypatch):
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")

    assert load_project(None, store=None).path is None


def test_the_store_lies_beside_the_file_that_names_it(tmp_path):
    path = write(tmp_path / "there" / "mine.toml", 'store = "kept"')

    assert load_project(path, store=None).store == tmp_path / "there" / "kept"


def test_the_store_of_a_flag_wins(tmp_path):
    path = write(tmp_path / "mine.toml", 'store = "kept"')

    assert load_project(path, store=Path("flag")).store == Path("flag")


def test_a_file_that_is_named_and_not_there_is_an_error(tmp_path):
    with pytest.raises(SpecError, match="no file"):
        load_project(tmp_path / "ketchup.toml", store=None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[distil]", "`distil` is not a field of `.*`; nearest: `distill`"),
        ("[names]\nteachr = 'x'", r"`teachr` is not a field of \[names\]; nearest: `teacher`"),
        ("[names]\nteacher = 3", "`names.teacher` in `.*` is not a name"),
        ("train = 3", "`train` in `.*` is not a table"),
        ("store = ''", "`store` in `.*` is not a name"),
        ("store =", "is not TOML"),
    ],
)
def test_what_makes_no_sense_is_named(tmp_path, text, message):
    path = write(tmp_path / "ketchup.toml", text)

    with pytest.raises(SpecError, match=message):
        load_project(path, store=None)


def test_every_role_of_a_stage_may_be_named():
    assert role_names() == (
        "backward-teacher",
        "base",
        "cache",
        "comet",
        "comparison",
        "corpus",
        "encoder",
        "extra-corpus",
        "generations",
        "model",
        "pseudo-targets",
        "rollouts",
        "scores",
        "student",
        "teacher",
        "verdicts",
    )
