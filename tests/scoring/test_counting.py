"""Statistics counted here against sacrebleu's own, item by item and to the last digit."""

import random

import pytest
from hypothesis import given, strategies
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.lib_ter import BeamEditDistance, translation_edit_rate

from ketchup_cli.scoring import bleu, counting, edits, grams

WORDS = (
    "the", "old", "ta-ble,", "opens.", "(and)", "a", "'s", "3.5", "naïve", "表示", "\U0001f600x", "\ud800",
)  # fmt: skip


def make_pairs(seed: int, *, count: int, longest: int) -> bleu.Pairs:
    generator = random.Random(seed)

    def text() -> str:
        chosen = generator.choices(WORDS, k=generator.randint(0, longest))
        return " ".join(chosen) + generator.choice(("", " ", "\n", " ."))

    return [(text(), [text() for _ in range(generator.randint(1, 3))]) for _ in range(count)]


@pytest.mark.parametrize("name", bleu.NAMES)
def test_statistics_of_every_item_are_sacrebleus(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # in three pieces; several references, empty texts, signs of any plane
    monkeypatch.setattr(bleu, "ITEMS_AT_ONCE", 50)
    pairs = make_pairs(1, count=120, longest=9)

    assert bleu.counted(name, "13a", pairs) == bleu.statistics(name, "13a", pairs)


@pytest.mark.parametrize("name", ["bleu", "chrf++"])
def test_n_grams_too_many_for_their_numbers_are_numbered_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = make_pairs(2, count=30, longest=9)
    monkeypatch.setattr(grams, "ROOM", 1 << 16)

    assert bleu.counted(name, "13a", pairs) == bleu.statistics(name, "13a", pairs)


PIECES = (
    *"ab 19 .,;-'&<>/!~{ \n\t\x1c\x85\u00a0\u2009\u3000é表", "&quot;", "&amp;", "<skipped>", "-\n", "1.5", "a-b", ".."
)  # fmt: skip


@given(text=strategies.lists(strategies.sampled_from(PIECES), max_size=24).map("".join))
def test_a_text_read_word_by_word_has_the_words_of_tokenizer_13a(text: str) -> None:
    metric = BLEU()

    words = counting._splitter(metric)(text)

    assert words == metric._preprocess_segment(text).split()


def shuffled(generator: random.Random, words: list[str]) -> list[str]:
    """Return the words with some blocks of them elsewhere, which is what TER shifts back."""
    moved = list(words)
    for _ in range(generator.randint(0, 4)):
        start = generator.randrange(len(moved) + 1)
        block = moved[start : start + generator.randint(1, 4)]
        del moved[start : start + len(block)]
        place = generator.randrange(len(moved) + 1)
        moved[place:place] = block
    return [word if generator.random() < 0.9 else "other" for word in moved]


@pytest.mark.parametrize("vocabulary", [3, 8, 60])
def test_edits_with_shifts_are_sacrebleus(vocabulary: int) -> None:
    generator = random.Random(vocabulary)
    for _ in range(60):
        words = [str(generator.randrange(vocabulary)) for _ in range(generator.randint(1, 14))]
        text = shuffled(generator, words)

        assert edits.edits(text, words) == translation_edit_rate(text, words)[0]


def test_rows_of_bits_are_exact_where_the_beam_misses_the_shortest_way() -> None:
    # what both share lies 26 cells off the diagonal, and the beam is 25 wide
    reference = [str(number) for number in range(54)]
    text = [*(f"new {number}" for number in range(26)), *reference[:28]]
    target = edits._Reference(reference)

    cost = target.rows(text)[-1][edits._COST]

    assert cost == 2 * 26
    assert BeamEditDistance(reference)(text)[0] == 54
    assert not target.is_exact(cost, len(text))


def test_a_text_the_beam_might_misread_gets_sacrebleus_own_edits() -> None:
    text, reference = ["new"] * 60, [str(number) for number in range(30)]

    assert edits.edits(text, reference) == translation_edit_rate(text, reference)[0] == 60


def test_a_sacrebleu_that_counts_otherwise_is_believed_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = CHRF._get_match_statistics
    monkeypatch.setattr(
        CHRF,
        "_get_match_statistics",
        staticmethod(lambda hyp, ref: [count + 1 for count in real(hyp, ref)]),
    )

    (measured,) = bleu.measure(["chrf"], ["a b"], [["a c"]])

    assert measured.statistics_NK[0, :3].tolist() == [3, 3, 2]
    assert "chrf of item 0 is counted otherwise by sacrebleu" in measured.warnings[0]
