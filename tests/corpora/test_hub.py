import json
from pathlib import Path

import pytest

from ketchup_cli.corpora import hub
from ketchup_cli.corpora.rows import Row
from ketchup_cli.errors import DataError, SpecError


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.usefixtures("_offline")
def test_a_folder_of_files_is_read_by_its_splits(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write_rows(folder / "train.jsonl", [{"src": "a", "tgt": "b"}, {"src": "c", "tgt": "d"}])
    write_rows(folder / "validation.jsonl", [{"src": "e", "tgt": "f"}])

    assert set(hub.parts("", folder=folder)) == {"train", "validation"}
    assert list(hub.read_dataset("", part="train", folder=folder)) == [
        Row("row 1", {"src": "a", "tgt": "b"}),
        Row("row 2", {"src": "c", "tgt": "d"}),
    ]


@pytest.mark.usefixtures("_offline")
def test_a_saved_data_set_is_read_too(tmp_path: Path) -> None:
    import datasets

    part = datasets.Dataset.from_dict({"src": ["a"], "tgt": [["b", "c"]]})
    datasets.DatasetDict({"test": part}).save_to_disk(tmp_path / "saved")

    assert hub.parts("", folder=tmp_path / "saved") == ("test",)
    assert list(hub.read_dataset("", part="test", folder=tmp_path / "saved")) == [
        Row("row 1", {"src": "a", "tgt": ["b", "c"]})
    ]


@pytest.mark.usefixtures("_offline")
def test_a_folder_that_is_no_data_set_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(DataError, match="no data set that `datasets` can load"):
        hub.parts("", folder=tmp_path / "empty")


@pytest.mark.usefixtures("_offline")
def test_without_the_hub_the_error_says_so_and_names_local_files() -> None:
    with pytest.raises(DataError, match="cannot be had from the hub") as caught:
        hub.parts("someone/some-data@0123456789abcdef", folder=None)
    assert caught.value.hint is not None
    assert "its files" in caught.value.hint


@pytest.mark.usefixtures("_offline")
def test_a_revision_cannot_be_asked_for_without_the_hub() -> None:
    with pytest.raises(DataError, match="cannot be had from the hub"):
        hub.pinned("someone/some-data")


def test_a_name_without_a_revision_is_refused() -> None:
    with pytest.raises(SpecError, match="names no revision"):
        hub.parts("someone/some-data", folder=None)


def test_a_name_with_a_revision_is_pinned_already() -> None:
    assert hub.pinned("someone/some-data@abc") == "someone/some-data@abc"


@pytest.mark.parametrize(
    ("part", "split"), [("validation", "dev"), ("valid", "dev"), ("train", "train")]
)
def test_validation_is_called_dev(part: str, split: str) -> None:
    assert hub.split_name(part) == split
