"""How much memory comparisons take: tensors alive at a time, counted without an allocator."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from ketchup_cli import functional as F
from ketchup_cli.functional import checks, steps
from ketchup_cli.signals import HeldLogits

V, N = 2000, 40
BLOCK_ROWS = 1
"""Rows of a block on a CPU for a vocabulary of 152,000."""

MEASURES = {
    "kl": F.kl,
    "reverse_kl": F.reverse_kl,
    "engine": F.engine,
    "js": F.js,
    "tvd": F.tvd,
    "gkd": partial(F.generalised_js, beta=0.1),
    "skew_kl": partial(F.skew_kl, alpha=0.1),
    "skew_rkl": partial(F.skew_reverse_kl, alpha=0.1),
    "adaptive_kl": partial(F.adaptive_kl, mu=0.5),
    "expected_logit": F.expected_logit,
    "likeliest_reverse_kl": partial(F.likeliest_reverse_kl, k=32),
}


class Peak(TorchDispatchMode):
    """Remembers the most bytes that tensors made inside held at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most_bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        del types
        given = {_storage(x).cdata for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)}
        found = func(*args, **(kwargs or {}))
        for x in tree_iter(found):
            if isinstance(x, Tensor) and _storage(x).cdata not in given:
                self._alive[_storage(x).cdata] = (_storage(x), x.untyped_storage().nbytes())
        self._alive = {key: own for key, own in self._alive.items() if not own[0].expired()}
        self.most_bytes = max(self.most_bytes, sum(size for _, size in self._alive.values()))
        return found


def _storage(x: Tensor) -> StorageWeakRef:
    return StorageWeakRef(x.untyped_storage())


def rows_beside_the_gradient(measure, rows, *, tokens: int = N) -> float:
    """Return what a comparison takes beside the gradient, in rows of logits."""
    q_BTV = torch.randn(1, tokens, V).requires_grad_()
    with Peak() as peak:
        (F.at_steps(measure, rows, q_BTV, torch.ones(1, tokens))[0]).mean().backward()
    return peak.most_bytes / (4 * V) - tokens


@pytest.fixture(autouse=True)
def _one_row_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setitem(steps._COMPARED_ENTRIES, "cpu", BLOCK_ROWS * V)
    monkeypatch.setattr(checks, "_CACHED_ENTRIES", 3 * V)


class Computed:
    """Rows that are made when they are asked for."""

    def __init__(self, tokens: int) -> None:
        self.count = tokens

    def logits(self, which: slice) -> Tensor:
        return torch.randn(len(range(self.count)[which]), V)

    def to(self, device: object) -> "Computed":
        del device
        return self


@pytest.mark.parametrize("name", MEASURES)
def test_a_comparison_takes_a_gradient_and_few_rows_beside(name: str) -> None:
    # 1.3 leaves 153 rows of 512 for it; an allocator keeps some of what it was given back
    assert rows_beside_the_gradient(MEASURES[name], Computed(N)) < 40


def test_a_loss_of_log_probabilities_too_has_one_gradient() -> None:
    q_BTV, mask_BT = torch.randn(1, N, V).requires_grad_(), torch.ones(1, N)
    tokens_BT = torch.zeros(1, N, dtype=torch.long)
    with Peak() as peak:
        found = F.at_steps(F.reverse_kl, Computed(N), q_BTV, mask_BT, tokens_BT=tokens_BT)
        (found[0] - found[1]).mean().backward()

    assert peak.most_bytes / (4 * V) - N < 40


def test_what_is_taken_beside_the_gradient_does_not_grow_with_the_tokens() -> None:
    few, many = (
        rows_beside_the_gradient(F.js, Computed(tokens), tokens=tokens) for tokens in (N, 3 * N)
    )

    # but for the losses themselves, a number a token
    assert many == pytest.approx(few, abs=1)


def test_held_logits_are_not_copied_to_be_read() -> None:
    computed = rows_beside_the_gradient(F.kl, Computed(N))
    held = rows_beside_the_gradient(F.kl, HeldLogits(torch.randn(N, V)))

    assert held <= computed - steps._READ_BLOCKS["cpu"] + 1
