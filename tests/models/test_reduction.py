from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ketchup_cli import functional as F
from ketchup_cli.errors import DataError, ModelError, NonFiniteError
from ketchup_cli.models.encode import Limits, collate
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.reduction import Request, score, visit_blocks
from ketchup_cli.models.sources import reference_rows
from ketchup_cli.signals import Batch

TOLERANCE = 1e-5
"""Sums over a vocabulary in another order, float32."""


@pytest.fixture(params=tiny.FAMILIES)
def policy(request: pytest.FixtureRequest) -> Policy:
    return tiny.make_policy(request.param)


def make_batch(policy: Policy, count: int = 6) -> Batch:
    limits = Limits(prompt=100, completion=100)
    rows = reference_rows(policy, tiny.make_examples(count), limits).rows
    return collate(rows, pad_id=policy.pad_id, source="data")


class LogitBytes(TorchDispatchMode):
    """Counts the bytes of all new tensors over the vocabulary, and remembers the most."""

    def __init__(self, vocabulary: int, known: Iterable[Tensor]) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self.alive: dict[StorageWeakRef, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.alive = {ref: size for ref, size in self.alive.items() if not ref.expired()}
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.ndim and leaf.shape[-1] == self.vocabulary:
                storage = leaf.untyped_storage()
                if storage.data_ptr() not in self.known:
                    self.alive[StorageWeakRef(storage)] = storage.nbytes()
        self.peak = max(self.peak, sum(self.alive.values()))
        return result


def chunks_alive(
    policy: Policy, work: Callable[[], object], *, chunk_tokens: int, known: Iterable[Tensor] = ()
) -> float:
    """Return how many `[chunk_tokens, V]` float32 tensors existed at once, at most."""
    known = [*policy.module.parameters(), *known]
    with LogitBytes(policy.vocabulary, known) as counted:
        work()
    return counted.peak / (4 * chunk_tokens * policy.vocabulary)


@pytest.mark.parametrize("temperatures", [(1.0,), (1.0, 2.0, 0.5)], ids=["one", "three"])
def test_no_more_than_two_chunks_of_logits_exist(
    policy: Policy, temperatures: tuple[float, ...]
) -> None:
    batch = make_batch(policy, 20)
    request = Request(temperatures=temperatures, top=8, chunk_tokens=16)

    alive = chunks_alive(policy, lambda: score(policy, batch, request), chunk_tokens=16)

    assert 1.0 <= alive <= 2.0


def test_no_more_than_two_chunks_exist_beside_the_students_logits(policy: Policy) -> None:
    batch = make_batch(policy, 20)
    student_BTV = torch.randn(*batch.tokens_BT.shape, policy.vocabulary)
    request = Request(student_logits_BTV=student_BTV, chunk_tokens=16)

    alive = chunks_alive(
        policy, lambda: score(policy, batch, request), chunk_tokens=16, known=[student_BTV]
    )

    assert 1.0 <= alive <= 2.0


def test_the_count_of_chunks_sees_a_whole_tensor_of_logits(policy: Policy) -> None:
    batch = make_batch(policy, 20)
    chunks = batch.tokens_BT.numel() / 16

    assert chunks_alive(policy, lambda: policy.logits(batch), chunk_tokens=16) >= chunks


def test_padding_is_never_computed(policy: Policy) -> None:
    batch = make_batch(policy)
    seen: list[int] = []
    hidden_NH = policy.hidden(batch).flatten(0, 1)[batch.mask_BT.flatten().bool()]

    visit_blocks(
        policy, hidden_NH, chunk_tokens=7, visit=lambda _which, logits: seen.append(len(logits))
    )

    assert sum(seen) == int(batch.mask_BT.sum())
    assert len(score(policy, batch, Request()).places_N) == int(batch.mask_BT.sum())


@pytest.mark.parametrize("chunk_tokens", [1, 3, 1000])
def test_the_size_of_a_chunk_does_not_change_the_numbers(policy: Policy, chunk_tokens: int) -> None:
    batch = make_batch(policy)
    whole = F.teacher_statistics(
        policy.logits(batch)[batch.mask_BT.bool()],
        batch.tokens_BT[batch.mask_BT.bool()],
        temperatures=(1.0, 2.0),
    )

    request = Request(temperatures=(1.0, 2.0), chunk_tokens=chunk_tokens)
    statistics = score(policy, batch, request).statistics

    for name in ("taken_N", "best_N", "mean_N", "lse_NK", "expected_NK"):
        torch.testing.assert_close(
            getattr(statistics, name), getattr(whole, name), atol=TOLERANCE, rtol=0
        )


def test_dense_logits_are_the_models_own(policy: Policy) -> None:
    batch = make_batch(policy)
    mask_BT = batch.mask_BT.bool()

    dense_NV = score(policy, batch, Request(dense=True, chunk_tokens=5)).dense_NV

    assert dense_NV is not None
    torch.testing.assert_close(dense_NV, policy.logits(batch)[mask_BT], atol=TOLERANCE, rtol=0)


def test_the_states_that_are_kept_give_the_logits_again(policy: Policy) -> None:
    batch = make_batch(policy)

    reduced = score(policy, batch, Request(dense=True))

    assert reduced.dense_NV is not None
    torch.testing.assert_close(
        policy.head(reduced.hidden_NH), reduced.dense_NV, atol=TOLERANCE, rtol=0
    )


def test_the_students_expectation_is_that_of_its_own_logits(policy: Policy) -> None:
    batch = make_batch(policy)
    mask_BT = batch.mask_BT.bool()
    student_BTV = torch.randn(
        *batch.tokens_BT.shape, policy.vocabulary, generator=torch.Generator().manual_seed(3)
    )
    teacher_BTV = policy.logits(batch)

    request = Request(student_logits_BTV=student_BTV, chunk_tokens=4)
    expected_N = score(policy, batch, request).student_expected_N

    assert expected_N is not None
    by_hand_BT = (student_BTV.softmax(dim=-1) * teacher_BTV).sum(dim=-1)
    torch.testing.assert_close(expected_N, by_hand_BT[mask_BT], atol=TOLERANCE, rtol=0)


def test_rows_a_vocabulary_was_padded_with_change_nothing() -> None:
    policy = tiny.make_policy("t5")
    batch = make_batch(policy)
    before = score(policy, batch, Request(top=4))
    policy.model.resize_token_embeddings(policy.vocabulary + 38, mean_resizing=False)
    with torch.no_grad():
        policy.model.get_output_embeddings().weight[policy.vocabulary :] = 100.0

    after = score(policy, batch, Request(top=4))

    torch.testing.assert_close(
        after.statistics.lse_NK, before.statistics.lse_NK, atol=TOLERANCE, rtol=0
    )
    assert before.entries is not None
    assert after.entries is not None
    assert torch.equal(after.entries[0], before.entries[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_logit_that_is_not_finite_is_named_by_example_and_step(value: float) -> None:
    policy = tiny.make_policy("t5")
    batch = make_batch(policy)
    head = policy.model.get_output_embeddings()
    # the last step of example 2 alone: rows before it must stay finite
    bad = int(batch.mask_BT[2].sum()) - 1
    calls = 0

    def spoil(_module: object, _inputs: object, logits: Tensor) -> Tensor:
        nonlocal calls
        place = int(batch.mask_BT[:2].sum()) + bad
        if logits.shape[-1] == policy.vocabulary and logits.ndim == 2:
            start, calls = calls, calls + len(logits)
            if start <= place < calls:
                logits = logits.clone()
                logits[place - start, 5] = value
        return logits

    head.register_forward_hook(spoil)

    with pytest.raises(NonFiniteError, match=f"`{batch.ids[2][:12]}`, step {bad}") as raised:
        score(policy, batch, Request(chunk_tokens=4))
    assert raised.value.exit_code == 7


def test_bfloat16_gets_the_advice_to_use_float32() -> None:
    made = tiny.make_policy("t5")
    policy = Policy(made.model, made.tokenizer, precision="bfloat16")
    with torch.no_grad():
        policy.model.get_output_embeddings().weight[3] = float("nan")

    with pytest.raises(NonFiniteError) as raised:
        score(policy, make_batch(policy), Request())
    assert raised.value.hint == "--set precision=float32"


def test_a_teacher_in_training_mode_is_refused(policy: Policy) -> None:
    policy.module.train()

    with pytest.raises(ModelError, match="training mode"):
        score(policy, make_batch(policy), Request())


def test_a_batch_without_completions_is_an_error(policy: Policy) -> None:
    batch = make_batch(policy)
    empty = replace(batch, mask_BT=torch.zeros_like(batch.mask_BT))

    with pytest.raises(DataError, match="completion token"):
        score(policy, empty, Request())


@pytest.mark.parametrize("vocabulary", [2000, 2007], ids=["even", "with a rest"])
def test_the_largest_of_a_large_vocabulary_are_those_of_topk(vocabulary: int) -> None:
    logits_NV = torch.randn(40, vocabulary, generator=torch.Generator().manual_seed(1))
    # the rest past the last whole group of 16 must be looked at too
    logits_NV[0, -1] = 50.0
    lse_N1 = logits_NV.logsumexp(dim=-1, keepdim=True)

    ids_NM, gaps_NM, _tail = F.top_entries(logits_NV, m=16, lse_NK=lse_N1)

    values_NM, expected_NM = logits_NV.topk(16, dim=-1)
    assert torch.equal(ids_NM.long(), expected_NM)
    assert torch.equal(gaps_NM, values_NM[:, :1] - values_NM)
