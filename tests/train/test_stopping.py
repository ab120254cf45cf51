import json

import pytest

from ketchup_cli.specs import ValidationSpec
from ketchup_cli.train.stopping import Watch

RISING = (-9.0, -8.0, -7.0, -6.0)


def make_watch(**changes: object) -> Watch:
    return Watch(spec=ValidationSpec(**({"metric": "bleu", "guard": 3} | changes)))


def observe(watch: Watch, metrics: list[float], gains: list[float | None] | None = None) -> list:
    known = gains or [None] * len(metrics)
    pairs = enumerate(zip(metrics, known, strict=True))
    return [watch.observe(10 * n, metric, gain=gain) for n, (metric, gain) in pairs]


def test_the_first_validation_is_the_best_so_far() -> None:
    watch = make_watch()

    assert watch.improves(0.0)


def test_of_equal_validations_the_earliest_is_the_best() -> None:
    watch = make_watch()
    observe(watch, [3.0, 5.0, 5.0, 4.0])

    assert (watch.best, watch.best_update, watch.since_best) == (5.0, 10, 2)


def test_a_lower_loss_is_better() -> None:
    watch = make_watch(metric="loss")
    observe(watch, [3.0, 1.0, 2.0])

    assert (watch.best, watch.best_update) == (1.0, 10)


def test_patience_counts_validations_since_the_best() -> None:
    watch = make_watch(patience=2)

    assert observe(watch, [1.0, 2.0, 1.5, 2.0]) == ["", "", "", "patience"]


def test_without_patience_a_run_goes_on() -> None:
    assert set(observe(make_watch(patience=0), [5.0, 4.0, 3.0, 2.0, 1.0])) == {""}


def test_a_return_that_rises_while_the_metric_falls_ends_the_run() -> None:
    watch = make_watch()

    assert observe(watch, [9.0, 8.0, 7.0, 6.0], list(RISING)) == ["", "", "", "reward hacking"]


def test_a_rising_loss_is_a_falling_metric() -> None:
    watch = make_watch(metric="loss")

    assert observe(watch, [1.0, 2.0, 3.0, 4.0], list(RISING))[-1] == "reward hacking"


@pytest.mark.parametrize(
    ("metrics", "gains"),
    [
        ([9.0, 8.0, 8.5, 6.0], RISING),
        ([9.0, 8.0, 8.0, 6.0], RISING),
        ([9.0, 8.0, 7.0, 6.0], (-9.0, -8.0, -8.5, -6.0)),
        ([9.0, 8.0, 7.0, 6.0], (None, -8.0, -7.0, -6.0)),
        ([9.0, 8.0, 7.0], RISING[:3]),
    ],
    ids=["metric recovers", "metric stands", "return falls", "no return yet", "too few"],
)
def test_anything_less_lets_the_run_go_on(metrics: list[float], gains: tuple) -> None:
    assert observe(make_watch(), metrics, list(gains))[-1] == ""


def test_a_guard_of_0_never_ends_a_run() -> None:
    watch = make_watch(guard=0)

    assert observe(watch, [9.0, 8.0, 7.0, 6.0], list(RISING))[-1] == ""


def test_the_sentence_says_what_rose_and_what_fell() -> None:
    watch = make_watch()
    ended = observe(watch, [9.0, 8.0, 7.0, 6.0], list(RISING))[-1]

    assert watch.sentence(ended) == (
        "stopped at update 30: the return rose from -9 to -6 while dev bleu fell from 9.00 to 6.00;"
        " the student exploits the reward. kept update 0 (bleu 9.00). try objective.value=softmax,"
        " a larger k, or a lower learning rate"
    )


def test_the_sentence_about_a_loss_says_that_it_rose() -> None:
    watch = make_watch(metric="loss")
    ended = observe(watch, [1.0, 2.0, 3.0, 4.0], list(RISING))[-1]

    assert "while dev loss rose from 1.00 to 4.00" in watch.sentence(ended)


def test_the_sentence_of_patience_counts() -> None:
    watch = make_watch(patience=2)
    ended = observe(watch, [1.0, 2.0, 1.5, 1.0])[-1]

    assert watch.sentence(ended) == (
        "stopped at update 30: no better dev bleu in 2 validations; kept update 10 (bleu 2.00)"
    )


def test_the_sentence_of_a_whole_run_names_what_was_kept() -> None:
    watch = make_watch()
    observe(watch, [1.0, 2.0])

    assert watch.sentence("") == "kept update 10 (dev bleu 2.00)"


def test_a_watch_goes_on_from_its_facts() -> None:
    one, other = make_watch(patience=3), make_watch(patience=3)
    observe(one, [9.0, 8.0, 7.0], list(RISING[:3]))
    other.restore(json.loads(json.dumps(one.to_facts())))
    found = [watch.observe(30, 6.0, gain=-6.0) for watch in (one, other)]

    assert found == ["reward hacking"] * 2
    assert other.history == one.history
    assert (other.best, other.best_update, other.since_best) == (9.0, 0, 3)


def test_of_equal_metrics_the_one_with_the_smaller_loss_is_kept() -> None:
    watch = Watch(spec=ValidationSpec())
    for update, loss in ((0, 5.0), (10, 3.0), (20, 3.5)):
        watch.observe(update, 0.0, gain=None, loss=loss)

    assert watch.best_update == 10
    assert watch.improves(0.0, loss=2.9)
    assert not watch.improves(0.0, loss=3.0)


def test_a_run_that_never_beat_its_start_says_so() -> None:
    watch = Watch(spec=ValidationSpec())
    for update, metric in ((0, 30.0), (10, 29.0)):
        watch.observe(update, metric, gain=None)

    assert watch.sentence("") == (
        "kept update 0 (dev bleu 30.00): no validation was better than the start, so the student is"
        " as it was"
    )
