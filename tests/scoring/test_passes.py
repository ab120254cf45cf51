import itertools

import pytest

from ketchup_cli.errors import DataError, SpecError
from ketchup_cli.scoring import exact
from ketchup_cli.scoring.items import Items
from ketchup_cli.scoring.passes import measure, pass_at
from ketchup_cli.scoring.settings import Settings

SAMPLES = (("3", "4", "5"), ("4", "4", "4"), ("x", "3", "3"))
ITEMS = Items(
    ids=("a", "b", "c"),
    hypotheses=tuple(several[0] for several in SAMPLES),
    references=(("3",),) * 3,
    samples=SAMPLES,
)


def passes(names: list[str], items: Items, *pass_k: int) -> dict[str, tuple[float | None, ...]]:
    found = {one.metric: (one,) for one in exact.measure(names, items.hypotheses, items.references)}
    measured = measure(names, found, items, Settings(pass_k=pass_k))
    return {one.metric: one.items for several in measured.values() for one in several}


@pytest.mark.parametrize("right", range(6))
@pytest.mark.parametrize("k", range(1, 6))
def test_pass_at_k_is_the_share_of_draws_that_hold_a_right_one(right: int, k: int) -> None:
    draws = list(itertools.combinations(range(5), k))
    share = sum(min(draw) < right for draw in draws) / len(draws)

    assert pass_at(k, right=right, count=5) == pytest.approx(share, abs=1e-12)


def test_every_example_has_its_chance() -> None:
    found = passes(["exact"], ITEMS, 1, 2)

    assert found["exact"] == (100.0, 0.0, 0.0)
    assert found["exact/pass@1"] == pytest.approx((100 / 3, 0.0, 200 / 3))
    assert found["exact/pass@2"] == pytest.approx((200 / 3, 0.0, 100.0))


def test_every_metric_of_right_or_wrong_gets_its_own() -> None:
    found = passes(["exact", "gsm8k-numeric"], ITEMS, 3)

    assert list(found) == ["exact", "exact/pass@3", "gsm8k-numeric", "gsm8k-numeric/pass@3"]


def test_too_few_samples_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"3 examples have fewer than 4 samples, .* `a`, `b`, `c`"):
        passes(["exact"], ITEMS, 4)


def test_one_text_per_prompt_serves_pass_at_1_alone() -> None:
    items = Items(ids=("a",), hypotheses=("3",), references=(("3",),))

    assert passes(["exact"], items, 1)["exact/pass@1"] == (100.0,)
    with pytest.raises(DataError, match="fewer than 2 samples"):
        passes(["exact"], items, 2)


def test_pass_at_k_of_no_metric_that_is_right_or_wrong_is_refused() -> None:
    with pytest.raises(SpecError, match="needs a metric that is right or wrong"):
        passes([], ITEMS, 1)


def test_the_signature_tells_how_many_samples_there_were() -> None:
    found = {one.metric: (one,) for one in exact.measure(["exact"], ["3"], [["3"]])}
    items = Items(ids=("a",), hypotheses=("3",), references=(("3",),), samples=(("3", "4"),))

    measured = measure(["exact"], found, items, Settings(pass_k=(2,)))["exact"]

    assert measured[1].signature.endswith("|pass@2:unbiased|samples:2")
