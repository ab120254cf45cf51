from itertools import islice

import tiny
import torch

from ketchup_cli.models.encode import Limits
from ketchup_cli.models.sources import reference_rows
from ketchup_cli.signals import Batch
from ketchup_cli.train.data import RowSource
from ketchup_cli.train.masked import MaskedSource

POLICY = tiny.make_policy("cmlm")
ROWS = reference_rows(POLICY, tiny.make_examples(12), Limits(prompt=40, completion=40)).rows


def source(*, seed: int = 0, tokens: int = 60) -> MaskedSource:
    rows = RowSource(ROWS, tokens_per_batch=tokens, pad_id=POLICY.pad_id, seed=0, source="data")
    return MaskedSource(rows, seed=seed, end_id=POLICY.eos_id)


def hidden(batch: Batch) -> dict[str, list[int]]:
    """Return the hidden places of every completion by its id."""
    rows = zip(batch.ids, batch.mask_BT, strict=True)
    return {id: mask_T.nonzero().flatten().tolist() for id, mask_T in rows}


def epoch(masked: MaskedSource) -> dict[str, list[int]]:
    """Return the hidden places of the first pass over all rows."""
    found: dict[str, list[int]] = {}
    for batch in masked.batches(0, 1):
        found |= hidden(batch)
        if len(found) == len(ROWS):
            return found
    raise AssertionError


def test_something_is_hidden_of_every_completion_and_never_its_end() -> None:
    for batch in islice(source().batches(0, 1), 30):
        assert bool((batch.mask_BT.sum(dim=1) >= 1).all())
        assert not bool(batch.mask_BT.bool()[batch.tokens_BT == POLICY.eos_id].any())


def test_what_is_hidden_depends_on_no_batch() -> None:
    assert epoch(source(tokens=60)) == epoch(source(tokens=400))


def test_another_seed_hides_other_tokens() -> None:
    assert epoch(source(seed=0)) != epoch(source(seed=1))


def test_another_epoch_hides_other_tokens() -> None:
    batches = islice(source(tokens=4000).batches(0, 1), 2)
    first, second = (hidden(batch) for batch in batches)

    assert first.keys() == second.keys()
    assert first != second


def test_a_stream_taken_up_later_hides_the_same_tokens() -> None:
    whole = list(islice(source().batches(0, 1), 9))
    later = list(islice(source().batches(5, 2), 2))

    for one, other in zip(whole[5::2], later, strict=True):
        assert one.ids == other.ids
        assert torch.equal(one.mask_BT, other.mask_BT)
