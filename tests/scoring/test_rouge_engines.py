import random
import sys
from pathlib import Path

import pytest

from ketchup_cli.scoring import rouge
from ketchup_cli.scoring.rouge_engines import first_difference, score_pairs
from ketchup_cli.scoring.settings import RougeSettings

FAST = pytest.importorskip("rouge_score_rs", reason="rouge-score-rs is not installed")
PIECES = (
    *("running", "runs", "Ponies", "the", "a", "1,234.50", "caf\u00e9", "na\u00efve", "x_y"),
    *("don't", "\u4f60\u597d", "\u0130stanbul", "\u212a", "e\u0301", "\n", "\n\n", "\t", "--", ""),
)
AUTO, REFERENCE = RougeSettings(), RougeSettings(engine="reference")
LYING = """
class RougeScorer:
    def __init__(self, names, use_stemmer):
        from rouge_score.rouge_scorer import RougeScorer

        self.scorer = RougeScorer(names, use_stemmer=use_stemmer)

    def score_batch(self, references, hypotheses):
        pairs = zip(references, ["wrong", *hypotheses[1:]])
        return [self.scorer.score(*pair) for pair in pairs]
"""


def random_pairs(count: int, seed: int) -> list[tuple[str, str]]:
    generator = random.Random(seed)

    def text() -> str:
        return " ".join(generator.choices(PIECES, k=generator.randint(0, 14)))

    return [(text(), text()) for _ in range(count)]


@pytest.mark.parametrize("stemmer", [True, False], ids=["stemmed", "plain"])
def test_the_fast_engine_gives_the_references_values_to_the_last_bit(stemmer: bool) -> None:
    pairs = random_pairs(500, seed=1)

    fast = score_pairs(rouge.NAMES, pairs, RougeSettings(stemmer=stemmer))
    slow = score_pairs(rouge.NAMES, pairs, RougeSettings(stemmer=stemmer, engine="reference"))

    assert "engine:rouge-score-rs|" in fast.engine
    assert fast.values == slow.values


def test_the_signature_tells_what_the_fast_engine_was_held_against() -> None:
    (one,) = rouge.measure(["rougeL"], ["a"] * 3, [["a"]] * 3, settings=AUTO)

    assert "|engine:rouge-score-rs|version:" in one.signature
    assert one.signature.endswith("|equal:rouge-score-0.1.2@3")


@pytest.mark.parametrize(
    "settings", [REFERENCE, RougeSettings(words="unicode")], ids=["asked-for", "other-words"]
)
def test_the_reference_engine_computes_what_it_is_asked_for(settings: RougeSettings) -> None:
    found = score_pairs(["rouge1"], [("a", "a")], settings)

    assert found.engine == "engine:rouge-score|version:0.1.2"


def test_a_fast_engine_that_differs_is_not_used_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rouge_score_rs").mkdir()
    (tmp_path / "rouge_score_rs" / "__init__.py").touch()
    (tmp_path / "rouge_score_rs" / "rouge_scorer.py").write_text(LYING, encoding="utf-8")
    for name in [name for name in sys.modules if name.startswith("rouge_score_rs")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)

    found = score_pairs(["rouge1"], [("a b", "a b"), ("c", "c")], AUTO)

    assert found.engine == "engine:rouge-score|version:0.1.2"
    assert found.values[0]["rouge1"] == (1.0, 1.0, 1.0)
    assert "differs from rouge-score on pair 0; rouge-score was used" in found.warnings[0]


def test_the_first_pair_that_differs_is_found() -> None:
    one, other = {"rouge1": (1.0, 1.0, 1.0)}, {"rouge1": (1.0, 1.0, 1.0 - 2**-53)}

    assert first_difference([one, one], [one, other]) == 1
    assert first_difference([one, one], [one, one]) is None


def test_several_processes_give_the_values_of_one() -> None:
    pairs = random_pairs(30, seed=2)

    one = score_pairs(["rouge1", "rougeLsum"], pairs, REFERENCE)
    two = score_pairs(["rouge1", "rougeLsum"], pairs, REFERENCE, processes=2)

    assert one.values == two.values
