"""A task small enough to enumerate: every completion, every state, every expectation exact.

A state is a prefix; token 0 ends the completion when `ends` is true, and so does the last of
`steps` tokens. A policy or a teacher is a table of logits, one row a state, in float64.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Literal, final

import torch
from torch import Tensor

from ketchup_cli import functional as F

END = 0
PAD = 0


@final
class TabularTeacher:
    """A teacher of `steps` steps over `vocabulary` tokens, and all completions there are.

    Invariant: the N rows of `tokens_NT` are all completions, once each; `state_NT` is the row of
    the state before each token, 0 on padding.
    """

    def __init__(self, *, vocabulary: int = 3, steps: int = 4, seed: int = 0, ends: bool = True):
        self.vocabulary, self.steps, self.seed = vocabulary, steps, seed
        completions = [
            tokens
            for length in range(1, steps + 1)
            for tokens in product(range(vocabulary), repeat=length)
            if _is_complete(tokens, steps, ends)
        ]
        prefixes = {tokens[:t] for tokens in completions for t in range(len(tokens))}
        self.states = sorted(prefixes, key=lambda prefix: (len(prefix), prefix))
        row = {state: index for index, state in enumerate(self.states)}
        self.completions = completions
        self.tokens_NT = _padded(completions, steps)
        self.mask_NT = _padded([[1] * len(tokens) for tokens in completions], steps)
        self.state_NT = _padded(
            [[row[tokens[:t]] for t in range(len(tokens))] for tokens in completions], steps
        )
        self.logits_SV = 2.0 * self.random(seed)

    def random(self, seed: int) -> Tensor:
        """Return a random table of logits: a student, or an offset a state."""
        generator = torch.Generator().manual_seed(1000 + seed)
        shape = (len(self.states), self.vocabulary)
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def at(self, table_SV: Tensor) -> Tensor:
        """Return the table's rows along every completion, [N, T, V]."""
        return table_SV[self.state_NT]

    def taken(self, table_SV: Tensor) -> Tensor:
        """Return the table's entry for every token, [N, T]."""
        return self.at(table_SV).gather(-1, self.tokens_NT[..., None]).squeeze(-1)

    def of_state(self, values_S: Tensor) -> Tensor:
        """Return a number of each state along every completion, [N, T]."""
        return values_S[self.state_NT]

    def log_probs(self, policy_SV: Tensor) -> Tensor:
        """Return log pi(a_t|s_t), 0 on padding, [N, T]."""
        return self.taken(policy_SV.log_softmax(-1)) * self.mask_NT

    def probabilities(self, policy_SV: Tensor) -> Tensor:
        """Return the probability of every completion, [N]; they sum to 1."""
        return self.log_probs(policy_SV).sum(1).exp()

    def visits(self, policy_SV: Tensor) -> Tensor:
        """Return the probability that each state is visited, [S]."""
        mass_NT = self.probabilities(policy_SV)[:, None] * self.mask_NT
        visited_S = torch.zeros(len(self.states), dtype=torch.float64)
        return visited_S.index_add(0, self.state_NT.flatten(), mass_NT.flatten())

    def expected_gradient(self, policy_SV: Tensor, weight_NT: Tensor) -> Tensor:
        """Return E[sum_t w_t grad log pi(a_t|s_t)] under the policy, [S, V]."""
        policy_SV = policy_SV.detach().requires_grad_()
        mass_N = self.probabilities(policy_SV).detach()
        score = (mass_N[:, None] * weight_NT.detach() * self.log_probs(policy_SV)).sum()
        return torch.autograd.grad(score, policy_SV)[0]

    def gradient_of(self, value: Callable[[Tensor], Tensor], policy_SV: Tensor) -> Tensor:
        """Return the gradient of a scalar function of the policy's table, [S, V]."""
        policy_SV = policy_SV.detach().requires_grad_()
        return torch.autograd.grad(value(policy_SV), policy_SV)[0]


def _is_complete(tokens: tuple[int, ...], steps: int, ends: bool) -> bool:
    if not ends:
        return len(tokens) == steps
    return END not in tokens[:-1] and (tokens[-1] == END or len(tokens) == steps)


def _padded(rows: Sequence[Sequence[int]], steps: int) -> Tensor:
    return torch.tensor([[*row, *[PAD] * (steps - len(row))] for row in rows])


def student_of(task: TabularTeacher) -> Tensor:
    """Return a random student's table of logits, the same for the same task."""
    return task.random(100 + task.seed)


def values(task: TabularTeacher, offset_S: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return q, largest v and mask along every completion, with an offset a state if given."""
    table_SV = task.logits_SV if offset_S is None else task.logits_SV + offset_S[:, None]
    return task.taken(table_SV), task.of_state(table_SV.amax(-1)), task.mask_NT


def returns(
    task: TabularTeacher,
    k: int,
    *,
    ending: Literal["paper", "released"] = "paper",
    offset_S: Tensor | None = None,
) -> Tensor:
    """Return the K-step returns of every completion, [N, T]."""
    return F.k_step_returns(*values(task, offset_S), k=k, ending=ending)


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    """Assert equality up to the rounding of float64."""
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)
