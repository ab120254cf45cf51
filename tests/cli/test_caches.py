"""`ketchup cache inspect` and `ketchup cache import`, as typed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import caches
import foreign
import pytest
import tiny

from ketchup_cli.corpora import read_split
from ketchup_cli.models.load import load_policy

Ketchup = Callable[..., Any]


@pytest.fixture
def cached(ketchup: Ketchup, corpus: Any, folder: Path) -> Path:
    """The corpus `words`, a tiny teacher, and a cache of it in each way."""
    assert corpus.code == 0
    tiny.make_policy_folder(folder / "teacher")
    kinds = {"largest": "top", "drawn": "sampled", "states": "hidden"}
    for name, keep in kinds.items():
        result = ketchup("cache-teacher", "--set", f"keep={keep}", "--set", "top=4", "--name", name)
        assert result.code == 0, result.err
    return folder


@pytest.mark.usefixtures("cached")
def test_a_cache_of_the_largest_logits_is_described(ketchup: Ketchup) -> None:
    out = ketchup("cache", "inspect", "largest").out

    assert "4 largest logits a token, in float16" in out
    assert "references of split train" in out
    assert "52 a token" in out
    assert "% of the mass on average, at temperature 1.0" in out


@pytest.mark.usefixtures("cached")
def test_every_objective_is_listed_with_what_it_gets(ketchup: Ketchup) -> None:
    found = ketchup("cache", "inspect", "largest", "--json").json["objectives"]

    assert found["kl"]["served"]
    assert found["kl"]["kind"] == "top"
    assert "at most twice" in found["kl"]["how"]
    assert not found["ketchup"]["served"]
    assert "teacher=live" in found["ketchup"]["how"]
    assert found["nll"]["how"] == "reads no teacher"


KINDS = {"largest": "top", "drawn": "sampled", "states": "hidden"}


@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize("name", KINDS)
def test_kl_is_served_by_every_kind_of_cache(name: str, ketchup: Ketchup) -> None:
    kl = ketchup("cache", "inspect", name, "--json").json["objectives"]["kl"]

    assert kl == {"served": True, "kind": KINDS[name], "how": kl["how"]}


@pytest.mark.usefixtures("cached")
def test_draws_are_counted(ketchup: Ketchup) -> None:
    found = ketchup("cache", "inspect", "drawn", "--json").json

    assert found["keeps"] == "50 draws a token"
    assert 1 < found["entries_per_token"] < 50
    assert found["bytes_per_token"] == pytest.approx(25 + 5 * found["entries_per_token"], abs=0.1)
    assert found["tail_mass_mean"] == {}


@pytest.mark.usefixtures("cached")
def test_statistics_alone_serve_no_divergence(ketchup: Ketchup) -> None:
    ketchup("cache-teacher", "--set", "top=0", "--name", "numbers")

    kl = ketchup("cache", "inspect", "numbers", "--json").json["objectives"]["kl"]

    assert not kl["served"]
    assert "holds statistics only" in kl["how"]
    assert "keep=top" in kl["how"]


@pytest.mark.usefixtures("cached")
def test_another_artifact_is_no_cache(ketchup: Ketchup) -> None:
    result = ketchup("cache", "inspect", "words")

    assert result.code == 2
    assert "is a corpus, not a teacher-cache" in result.err


@pytest.fixture
def rows(cached: Path, ketchup: Ketchup) -> Path:
    """The logits of the teacher in axolotl's layout."""
    policy = load_policy(cached / "teacher", device="cpu")
    corpus = Path(ketchup("path", "words").out.strip())
    examples, own = read_split(corpus, "train"), caches.rows_of(policy, corpus)
    path = cached / "logprobs.parquet"
    written = [
        foreign.axolotl_row(example, foreign.log_probs(policy, row), k=5)
        for example, row in zip(examples, own, strict=True)
    ]
    foreign.write_rows(path, written)
    return path


IMPORT = ("cache", "import", "--from", "axolotl", "logprobs.parquet", "--student", "./teacher")


@pytest.mark.usefixtures("rows")
def test_an_imported_cache_says_that_it_has_no_statistics(ketchup: Ketchup) -> None:
    result = ketchup(*IMPORT, "--set", "agreement=0", "--name", "theirs")
    found = ketchup("cache", "inspect", "theirs", "--json").json

    assert result.code == 0, result.err
    assert found["statistics"] == "best, tail"
    assert found["objectives"]["kl"]["kind"] == "top"


@pytest.mark.usefixtures("rows")
def test_a_student_learns_from_an_imported_cache(ketchup: Ketchup) -> None:
    ketchup(*IMPORT, "--set", "agreement=0", "--name", "theirs")

    result = ketchup(
        *("distill", "--student", "./teacher", "--objective", "kl", "--cache", "theirs"),
        *("--set", "teacher=cache", "--set", "updates=1", "--set", "validation.metric=loss"),
    )

    assert result.code == 0, result.err


@pytest.mark.usefixtures("rows")
def test_an_import_that_does_not_fit_leaves_with_the_reason(ketchup: Ketchup) -> None:
    result = ketchup(*IMPORT, "--set", "agreement=1")

    assert result.code == 3
    assert "out of line" in result.err


@pytest.mark.usefixtures("cached")
def test_an_unknown_format_is_a_usage_error(ketchup: Ketchup) -> None:
    result = ketchup("cache", "import", "--from", "others", "logprobs.parquet")

    assert result.code == 2
