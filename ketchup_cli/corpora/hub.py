"""Rows of a `datasets` data set: a local folder, or a name on the hub at a fixed revision."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ketchup_cli.corpora.readers import Record
from ketchup_cli.corpora.rows import Row
from ketchup_cli.errors import DataError, SpecError

_RENAMED: Mapping[str, str] = {"validation": "dev", "valid": "dev"}
"""Split names of the hub and what ketchup calls them."""


def split_name(part: str) -> str:
    """Return the name a split of a data set gets in the corpus."""
    return _RENAMED.get(part, part)


def pinned(name: str) -> str:
    """Return `name@revision` for a data set on the hub, asking the hub where none is given.

    Raises:
        DataError: the hub cannot be reached or does not know the name.
    """
    if "@" in name:
        return name
    import huggingface_hub

    with _loading(name, None):
        return f"{name}@{huggingface_hub.HfApi().dataset_info(name).sha}"


def parts(dataset: str, *, folder: Path | None) -> tuple[str, ...]:
    """Return the split names of a data set, in its own words.

    Raises:
        SpecError: no revision is named.
        DataError: it cannot be loaded.
    """
    loaded = _load(dataset, folder=folder)
    return tuple(str(part) for part in loaded)


def read_dataset(dataset: str, *, part: str, folder: Path | None) -> Iterator[Record]:
    """Return one row per row of a split of a data set.

    Raises:
        SpecError: no revision is named.
        DataError: it cannot be loaded.
    """
    rows = _load(dataset, folder=folder)[part]
    with _loading(dataset, folder):
        for number, fields in enumerate(rows, start=1):
            yield Row(f"row {number}", fields)


def _load(dataset: str, *, folder: Path | None) -> Any:
    import datasets

    name, _, revision = dataset.partition("@")
    if folder is None:
        _check_revision(name, revision)
    with _loading(name, folder):
        # streaming: rows come from the files themselves, not from a cache of earlier ones
        if folder is None:
            return datasets.load_dataset(name, revision=revision, streaming=True)
        if (folder / "dataset_dict.json").is_file():
            return datasets.load_from_disk(folder)
        return datasets.load_dataset(str(folder), streaming=True)


@contextmanager
def _loading(dataset: str, folder: Path | None) -> Iterator[None]:
    """Turn what the libraries raise into one error that names the way out."""
    import datasets
    import huggingface_hub.errors

    errors: Any = huggingface_hub.errors
    # HTTPError is the base class of whatever HTTP client the hub library is built on
    own = (datasets.exceptions.DatasetsError, errors.HTTPError, errors.OfflineModeIsEnabled)
    try:
        yield
    except (*own, OSError, ValueError) as error:
        if folder is None:
            raise _unreachable(dataset, error) from None
        raise DataError(
            f"`{folder}` is no data set that `datasets` can load: {_first_line(error)}",
            hint="ketchup corpus --train FILE.jsonl",
        ) from None


def _check_revision(name: str, revision: str) -> None:
    if not revision:
        raise SpecError(
            f"data set `{name}` names no revision, so its rows may change unseen",
            hint=f"--set dataset={name}@COMMIT",
        )


def _unreachable(name: str, error: Exception) -> DataError:
    return DataError(
        f"data set `{name}` cannot be had from the hub: {_first_line(error)}",
        hint="download it elsewhere and give its files (--train FILE.parquet) or its folder",
    )


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
