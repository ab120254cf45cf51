import math
import random

import pytest
from judged import judged, judgment

from ketchup_cli.judging.controls import Controls
from ketchup_cli.judging.measures import Resampling
from ketchup_cli.judging.probe import Abilities
from ketchup_cli.judging.report import Terms, make_report
from ketchup_cli.judging.report_lines import lines
from ketchup_cli.judging.tally import Figure, Judgment, controls_of, figures, unjudged

SWAPPED = {"x": "y", "y": "x", "tie": "tie"}


def figure(verdicts: list[tuple[str | None, str | None]], *, seed: int = 0) -> Figure:
    return figures(judged(verdicts), how=Resampling(resamples=1000, seed=seed))[0]


def test_a_win_is_one_only_where_both_orders_say_so() -> None:
    found = figure([("x", "x"), ("x", "y"), ("tie", "x"), ("y", "y"), ("tie", "tie")])

    assert (found.wins, found.ties, found.losses) == (1, 3, 1)
    assert found.win_rate == pytest.approx((1 + 0.5 + 0.75 + 0 + 0.5) / 5)
    assert found.consistency == pytest.approx(3 / 5)


def test_what_is_unjudged_is_no_tie_and_the_bounds_say_what_it_could_change() -> None:
    found = figure([("x", "x"), ("x", None), (None, None), ("y", "y")])

    assert (found.units, found.unjudged, found.win_rate) == (4, 2, 0.5)
    assert found.bounds == (0.25, 0.75)


def test_a_judge_that_always_takes_the_first_slot_prefers_nobody() -> None:
    found = figure([("x", "y")] * 50)

    assert (found.win_rate, found.first_slot, found.consistency) == (0.5, 1.0, 0.0)
    assert found.claim.startswith("no difference")


def test_a_line_holds_every_figure_of_a_pair() -> None:
    rows = [*judged([("x", "x")] * 24 + [("y", "y")] * 8 + [("x", None)] * 4, characters=(30, 20))]
    terms = Terms(
        judges={"": Abilities(protocol="text")},
        task="Summarise.",
        aspects={"quality": "Better?"},
        systems=("a", "b"),
        how=Resampling(resamples=1000, seed=0),
    )

    told = dict(lines(make_report(rows, terms)))["quality"]

    # 0.5 + (1.96 + 0.842) * sd / sqrt(32), sd the root of 24 * 8 / (32 * 31)
    assert told.startswith("a against b: 75.0% [")
    assert told.endswith(
        "24 won, 0 tied, 8 lost, orders agree 100%, first slot 53%, 1.50 times as long, at equal"
        " length 75.0%, 4 unjudged: 66.7% if lost, 77.8% if won, finds 71.8% or more"
    )


def test_few_items_give_no_claim_however_they_fall() -> None:
    assert figure([("x", "x")] * 29).claim.startswith("no difference")
    assert "prefers a to b" in figure([("x", "x")] * 30).claim


def test_unjudged_units_that_could_turn_it_forbid_the_claim() -> None:
    found = figure([("x", "x")] * 40 + [("y", "y")] * 10 + [(None, None)] * 35)

    assert (found.win_rate, found.p_holm) == (pytest.approx(0.8), pytest.approx(0.001, abs=0.002))
    assert "unjudged could turn it" in found.claim


def test_p_is_corrected_over_all_aspects_and_pairs() -> None:
    verdicts = [("x", "x")] * 22 + [("y", "y")] * 10
    rows = [*judged(verdicts), *judged(verdicts, aspect="coherence"), *judged(verdicts, y="c")]

    found = figures(rows, how=Resampling(resamples=2000, seed=0))

    assert [one.p_holm for one in found] == [pytest.approx(3 * (found[0].p or 0))] * 3


def test_swapping_the_systems_mirrors_every_number() -> None:
    draw = random.Random(7)
    verdicts = [(draw.choice("xy"), draw.choice(["x", "y", "tie"])) for _ in range(80)]
    mirrored = [(SWAPPED[one], SWAPPED[other]) for one, other in verdicts]

    here, there = figure(verdicts), figure(mirrored)

    assert here.win_rate == pytest.approx(1 - (there.win_rate or 0))
    assert (here.wins, here.ties, here.losses) == (there.losses, there.ties, there.wins)
    assert here.interval == pytest.approx(tuple(1 - end for end in reversed(there.interval or ())))
    assert here.p == there.p


def test_probabilities_count_for_what_they_are_and_the_likeliest_verdict_for_the_bars() -> None:
    p = {"1": 0.6, "2": 0.3, "tie": 0.1}
    rows = [judgment(0, "xy", "x", p=p), judgment(0, "yx", "y", p=p)]

    found = figures(rows, how=Resampling(resamples=1000, seed=0))[0]

    assert found.win_rate == pytest.approx((0.65 + 0.35) / 2)
    assert (found.wins, found.ties, found.losses) == (0, 1, 0)


def test_length_is_taken_out_where_it_decides_everything() -> None:
    draw = random.Random(1)
    rows: list[Judgment] = []
    for item in range(300):
        gap = draw.choice([-50, 50, 50])
        verdict = "x" if gap > 0 else "y"
        rows += [
            judgment(item, order, verdict, characters=(100 + gap, 100)) for order in ("xy", "yx")
        ]

    found = figures(rows, how=Resampling(resamples=1000, seed=0))[0]

    assert (found.win_rate or 0) > 0.6
    assert found.length_adjusted == pytest.approx(0.5, abs=0.1)


def simulate(
    draw: random.Random, items: int, preference: float, *, slot_bias: float
) -> list[tuple[str | None, str | None]]:
    """Judge by the sign of preference + an item's own taste + noise, leaning to the first slot."""
    verdicts: list[tuple[str | None, str | None]] = []
    for _ in range(items):
        own = preference + draw.gauss(0, 1)
        pair = []
        for lean in (slot_bias, -slot_bias):
            heard = own + lean + draw.gauss(0, 0.7)
            pair.append("tie" if abs(heard) < 0.2 else "x" if heard > 0 else "y")
        verdicts.append((pair[0], pair[1]))
    return verdicts


def expected_rate(preference: float, slot_bias: float) -> float:
    """Return the mean value of a unit by the normal distribution: the oracle of the simulation."""

    def above(bound: float) -> float:
        return 0.5 * math.erfc(bound / math.sqrt(2) / math.sqrt(1 + 0.7**2))

    def value(mean: float) -> float:
        return above(0.2 - mean) + 0.5 * (above(-0.2 - mean) - above(0.2 - mean))

    return (value(preference + slot_bias) + value(preference - slot_bias)) / 2


@pytest.mark.parametrize("slot_bias", [0.0, 0.8])
def test_intervals_cover_the_truth_as_often_as_they_say_whatever_slot_the_judge_likes(
    slot_bias: float,
) -> None:
    draw = random.Random(11)
    truth, runs, rates, covered = expected_rate(0.3, slot_bias), 700, [], 0
    for seed in range(runs):
        found = figure(simulate(draw, 150, 0.3, slot_bias=slot_bias), seed=seed)
        assert found.interval
        assert found.win_rate is not None
        covered += found.interval[0] <= truth <= found.interval[1]
        rates.append(found.win_rate)

    assert 0.93 <= covered / runs <= 0.97
    assert sum(rates) / runs == pytest.approx(truth, abs=0.01)


def test_p_is_uniform_where_there_is_no_preference_but_for_its_steps() -> None:
    draw = random.Random(3)
    ps = [figure(simulate(draw, 60, 0.0, slot_bias=0.5), seed=seed).p or 0.0 for seed in range(300)]

    for level in (0.05, 0.25, 0.5, 0.75):
        share = sum(p <= level for p in ps) / len(ps)
        error = math.sqrt(level * (1 - level) / len(ps))
        # sums of quarters are a lattice: a p of a tenth or so of all mass is reached in one step
        assert level - 3 * error - 0.06 <= share <= level + 3 * error


def test_controls_that_came_to_nothing_count_as_wrong() -> None:
    rows = [
        judgment(0, "xy", "x", control="cut", expected="1"),
        judgment(1, "yx", "y", control="cut", expected="2"),
        judgment(2, "xy", "tie", control="identical", expected="tie"),
        judgment(3, "xy", None, control="identical", expected="tie"),
    ]

    assert controls_of(rows) == Controls(
        right=2, asked=4, by_kind={"cut": "1/2", "identical": "1/2"}
    )
    assert unjudged([*rows, judgment(4, "xy", None)]) == {"off_menu": 1}
