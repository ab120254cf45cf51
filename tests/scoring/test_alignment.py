"""IBM model 1 against a loop over words, against a corpus known by hand, and the links of both ways."""

import math
import random
from collections import defaultdict

import pytest

from ketchup_cli.scoring.alignment import Lexicon, TextPair, entropies, learn, links

HAND: list[TextPair] = [
    (["das", "Haus"], ["the", "house"]),
    (["das", "Buch"], ["the", "book"]),
    (["ein", "Buch"], ["a", "book"]),
]
EMPTY = ""


def made_up(count: int, *, seed: int) -> list[TextPair]:
    """Return pairs of texts in which word w of one side is word W of the other, with some noise."""
    generator = random.Random(seed)
    pairs = []
    for _ in range(count):
        prompt = [generator.choice("abcdefg") for _ in range(generator.randint(1, 6))]
        completion = [word.upper() for word in prompt if generator.random() < 0.8] or ["X"]
        generator.shuffle(completion)
        pairs.append((prompt, completion))
    return pairs


def slow(pairs: list[TextPair], rounds: int) -> tuple[dict[tuple[str, str], float], float]:
    """Return w(c|p) word by word as the paper says it, and the likelihood of the round before."""
    brought = {word for _, completion in pairs for word in completion}
    weight: dict[tuple[str, str], float] = defaultdict(lambda: 1 / len(brought))
    likelihood = 0.0
    for _ in range(rounds):
        count: dict[tuple[str, str], float] = defaultdict(float)
        likelihood = 0.0
        for prompt, completion in pairs:
            for c in completion:
                below = sum(weight[p, c] for p in [EMPTY, *prompt])
                likelihood += math.log(below / (len(prompt) + 1))
                for p in [EMPTY, *prompt]:
                    count[p, c] += weight[p, c] / below
        total: dict[str, float] = defaultdict(float)
        for (p, _), value in count.items():
            total[p] += value
        weight = defaultdict(float, {pair: value / total[pair[0]] for pair, value in count.items()})
    return weight, likelihood


def turned(pairs: list[TextPair]) -> list[TextPair]:
    return [(completion, prompt) for prompt, completion in pairs]


def weights(lexicon: Lexicon) -> dict[tuple[str, str], float]:
    prompts, completions = list(lexicon.prompt_words), list(lexicon.completion_words)
    table = {
        (prompts[key // len(completions)], completions[key % len(completions)]): float(weight)
        for key, weight in zip(lexicon.key_K, lexicon.forward.weight_K, strict=True)
    }
    empty = zip(completions, lexicon.forward.empty_V, strict=True)
    return table | {(EMPTY, word): float(weight) for word, weight in empty}


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_the_weights_are_those_of_a_loop_over_words(rounds: int) -> None:
    pairs = made_up(30, seed=rounds)
    found, (wanted, likelihood) = learn(pairs, rounds=rounds), slow(pairs, rounds)

    assert weights(found) == pytest.approx(dict(wanted), abs=1e-12)
    assert found.forward.log_likelihood == pytest.approx(likelihood)


def test_the_way_back_is_the_way_there_with_both_sides_changed_over() -> None:
    pairs = made_up(30, seed=0)
    back, there = learn(pairs).backward, learn(turned(pairs)).forward

    assert back.log_likelihood == pytest.approx(there.log_likelihood)
    assert sorted(back.weight_K) == pytest.approx(sorted(there.weight_K))


def test_the_likelihood_never_falls() -> None:
    pairs = made_up(40, seed=3)
    found = [learn(pairs, rounds=rounds).forward.log_likelihood for rounds in range(1, 9)]

    assert found == sorted(found)
    assert found[-1] > found[0] + 1


def test_two_rounds_by_hand() -> None:
    # round 1: every word of three (das, Haus, the empty one) has a third of `the`, so w(the|das) is
    # (1/3 + 1/3) / (4/3) = 1/2, w(house|das) = 1/4, w(the|Haus) = 1/2, w(the|empty) = 2/6
    first = weights(learn(HAND, rounds=1))

    assert first["das", "the"] == pytest.approx(1 / 2)
    assert first["das", "house"] == pytest.approx(1 / 4)
    assert first["Haus", "the"] == pytest.approx(1 / 2)
    assert first[EMPTY, "the"] == pytest.approx(1 / 3)


def test_words_that_stand_for_each_other_are_linked() -> None:
    lexicon = learn(HAND)

    assert links(lexicon, (["das", "Buch"], ["the", "book"])) == [(0, 0), (1, 1)]
    assert links(lexicon, (["Buch", "ein"], ["a", "book"])) == [(1, 0), (0, 1)]


def test_of_two_equal_words_the_nearest_is_linked() -> None:
    lexicon = learn(HAND)
    pair = (["das", "Haus", "das", "Buch"], ["the", "house", "the", "book"])

    assert links(lexicon, pair) == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_an_unknown_word_and_an_empty_text_have_no_link() -> None:
    lexicon = learn(HAND)

    assert links(lexicon, (["das", "neue"], ["new", "the"])) == [(0, 1)]
    assert links(lexicon, (["ein"], ["new"])) == []
    assert links(lexicon, ([], ["the"])) == []
    assert links(learn([]), (["das"], ["the"])) == []


def test_a_rare_word_does_not_draw_the_words_of_its_text() -> None:
    # model 1 one way lets a word met once stand for all that was met with it
    pairs = [(["a", "b", "c"], ["A", "B", "C"])] * 20 + [(["a", "b", "rare"], ["A", "B", "RARE"])]
    lexicon = learn(pairs)

    assert links(lexicon, pairs[-1]) == [(0, 0), (1, 1), (2, 2)]


def test_of_two_words_that_one_word_brought_forth_one_is_linked() -> None:
    pairs = [(["a"], ["A"])] * 20 + [(["a", "rare"], ["A", "RARE", "MORE"])]

    assert links(learn(pairs), pairs[-1]) == [(0, 0), (1, 2)]


def test_a_word_that_stands_everywhere_stands_for_the_empty_word() -> None:
    lexicon = learn([([f"p{n}"], [f"P{n}", "X"]) for n in range(20)])

    assert links(lexicon, (["p0"], ["P0", "X"])) == [(0, 0)]
    assert links(lexicon, (["p0"], ["X"])) == []


def test_pairs_beyond_the_limit_are_left_out() -> None:
    pairs = made_up(30, seed=1)
    sizes = [len(prompt) * len(completion) for prompt, completion in pairs]
    found = learn(pairs, most=sum(sizes[:12]))

    assert found.pairs == 12
    assert weights(found) == weights(learn(pairs[:12]))


def test_the_entropy_of_a_word_is_that_of_its_weights() -> None:
    pairs = made_up(30, seed=2)
    there, back = entropies(learn(pairs))
    wanted, _ = slow(pairs, 5)

    for word in "abc":
        row = [value for (p, _), value in wanted.items() if p == word and value > 0]
        assert there[word] == pytest.approx(-sum(value * math.log(value) for value in row))
    assert back == pytest.approx(entropies(learn(turned(pairs)))[0])


def test_a_word_that_stands_for_one_other_has_no_entropy() -> None:
    there, _ = entropies(learn([(["a"], ["A"])] * 3))

    assert there == {"a": 0.0}
