"""What every objective says of the signals it can work from is what it asks for."""

import pytest

from ketchup_cli import objectives
from ketchup_cli.signals import DETAIL_ORDER

KINDS = {"stats", "top", "sampled", "hidden", "dense"}


def needs_of(name):
    return objectives.build({"name": name})[0].needs


READERS = [name for name in objectives.names() if needs_of(name).teacher != "none"]
every_objective = pytest.mark.parametrize("name", objectives.names())
every_reader = pytest.mark.parametrize("name", READERS)


@every_objective
def test_signals_are_called_by_their_names(name):
    assert set(objectives.load(name).fits) <= KINDS


@every_objective
def test_an_objective_says_how_it_learns_from_draws_only_if_it_asks_for_them(name):
    assert ("sampled" in objectives.load(name).fits) == needs_of(name).sampled


@every_reader
def test_an_objective_says_what_it_gets_from_what_it_asks_for(name):
    needs, fits = needs_of(name), objectives.load(name).fits

    # a signal with more in it does too
    enough = DETAIL_ORDER[DETAIL_ORDER.index(needs.teacher) :]
    assert set(enough) & set(fits)


@every_objective
def test_what_is_lost_is_a_clause_without_a_full_stop(name):
    assert not [text for text in objectives.load(name).fits.values() if text.endswith(".")]
