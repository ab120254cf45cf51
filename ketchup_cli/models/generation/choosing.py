"""How the next token is chosen from a policy's logits, and the random numbers that decide."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from ketchup_cli import functional as F
from ketchup_cli.errors import NonFiniteError
from ketchup_cli.models.generation.calculator import FREE, Force
from ketchup_cli.spec import canonical

Pick = Callable[[Tensor, int], Tensor]
"""From logits `[B, V]` and the number of the step to tokens `[B]`."""


Mix = Callable[[Tensor, Tensor], Tensor]
"""From what was written `[B, N]` and the writer's logits `[B, V]` to those that are drawn from."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How completions are sampled; the sample's index makes its random numbers its own."""

    samples: int = 1
    """Completions per prompt."""
    temperature: float = 1.0
    """Logits are divided by it."""
    top_k: int = 0
    """Keep the k most likely tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the most likely tokens up to this mass."""
    max_new_tokens: int = 128
    """Tokens after which a completion is cut."""
    first: int = 0
    """Index of the first sample: a prompt met again goes on where it stopped."""
    teacher_share: float = 0.0
    """Share of a teacher in the mixture drawn from, which the settings above then bend."""
    calculator: bool = False
    """Whether a calculator completes expressions."""


def uniforms(seed: int, keys: Iterable[tuple[str, int]], *, steps: int) -> Tensor:
    """Return the random numbers of samples, known by (example id, sample index) alone.

        u_t = the 53 high bits of word t of SHAKE-256(seed, id, sample), over 2^53

    A longer row begins with the shorter one, so a limit on length moves no sample. Keyed hashing
    needs no generator per sample and gives the same numbers on every machine.

    Args:
        seed: the run's seed.
        keys: example id and sample index of every row.
        steps: numbers per row.

    Returns:
        [N, steps] float64 in [0, 1).
    """
    words = bytearray()
    count = 0
    for name, sample in keys:
        words += hashlib.shake_256(canonical([seed, name, sample])).digest(8 * steps)
        count += 1
    if not words:
        return torch.zeros(count, steps, dtype=torch.float64)
    bits = torch.frombuffer(words, dtype=torch.int64).view(count, steps)
    return ((bits >> 11) & ((1 << 53) - 1)).double() / (1 << 53)


def most_likely(logits_BV: Tensor, step: int) -> Tensor:
    """Return the most likely token of every row, the first of equals."""
    del step
    return logits_BV.argmax(dim=-1)


def by_numbers(u_BT: Tensor) -> Pick:
    """Return the choice that follows given random numbers, one column a step."""

    def pick(logits_BV: Tensor, step: int) -> Tensor:
        # some devices take one step more than asked for and throw it away
        column = min(step, u_BT.shape[1] - 1)
        return F.choose_by_inverse_cdf(logits_BV, u_BT[:, column].to(logits_BV.device))

    return pick


@final
class Choosing:
    """The last logits processor: it chooses, and leaves transformers' argmax no other choice.

    Invariant: tokens are below `vocabulary`, and their log-probabilities are those under the very
    distribution they were drawn from; a forced token is certain, and the random number of its step
    is passed over.
    """

    def __init__(
        self,
        pick: Pick,
        *,
        vocabulary: int,
        sampling: Sampling | None = None,
        mix: Mix | None = None,
        force: Force | None = None,
    ) -> None:
        self._tokens: list[Tensor] = []
        self._logps: list[Tensor] = []
        self._forced: list[Tensor] = []
        self._pick = pick
        self._mix = mix
        self._force = force
        self._vocabulary = vocabulary
        self._warpers = _warpers(sampling) if sampling else ()

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores with the chosen token out of every other's reach."""
        logits_BV = F.at_least_float32(scores[:, : self._vocabulary])
        if self._mix is not None:
            logits_BV = self._mix(input_ids, logits_BV)
        for warper in self._warpers:
            logits_BV = warper(input_ids, logits_BV)
        tokens_B1 = self._pick(logits_BV, len(self._tokens))[:, None]
        logp_B = logits_BV.gather(1, tokens_B1).squeeze(1) - logits_BV.logsumexp(dim=-1)
        if self._force is not None:
            forced_B1 = self._force(input_ids)[:, None]
            self._forced.append(forced_B1.squeeze(1) != FREE)
            tokens_B1 = torch.where(forced_B1 == FREE, tokens_B1, forced_B1)
        self._tokens.append(tokens_B1.squeeze(1))
        self._logps.append(logp_B)
        # in place: the scores are `generate`'s own copy, and a second one is a tenth of a step
        return scores.scatter_(1, tokens_B1, torch.inf)

    def chosen(self, count: int) -> Tensor:
        """Return the tokens of the first `count` steps."""
        return torch.stack(self._tokens[:count], dim=1)

    def log_probs(self, count: int) -> Tensor:
        """Return the log-probabilities of the first `count` steps.

        Raises:
            NonFiniteError: the logits are not finite.
        """
        logp_BN = torch.stack(self._logps[:count], dim=1)
        check_finite(logp_BN)
        forced_BN = self.forced(count)
        return logp_BN if forced_BN is None else logp_BN.masked_fill(forced_BN, 0.0)

    def forced(self, count: int) -> Tensor | None:
        """Return where the first `count` steps had no choice; None where nothing forces."""
        return None if self._force is None else torch.stack(self._forced[:count], dim=1)


def _warpers(sampling: Sampling) -> tuple[Callable[[Tensor, Tensor], Tensor], ...]:
    chosen: list[Callable[[Tensor, Tensor], Tensor]] = []
    if sampling.temperature != 1.0:
        chosen.append(TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k:
        chosen.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1.0:
        chosen.append(TopPLogitsWarper(sampling.top_p))
    return tuple(chosen)


@final
class OwnRows:
    """A logits processor that takes the rows a model was padded with out of a beam search."""

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return log-probabilities that sum to 1 over the vocabulary, nothing beyond it."""
        del input_ids
        if scores.shape[1] == self._vocabulary:
            return scores
        own = scores[:, : self._vocabulary].log_softmax(dim=-1)
        masked = torch.full_like(scores, -torch.inf)
        masked[:, : self._vocabulary] = own
        return masked


@final
class Obeying:
    """A logits processor that leaves a beam search the forced token alone, at no cost."""

    def __init__(self, force: Force) -> None:
        self._force = force

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores with minus infinity beside a forced token, and 0 for it."""
        forced_B1 = self._force(input_ids)[:, None]
        alone = torch.full_like(scores, -torch.inf).scatter(1, forced_B1.clamp(min=0), 0.0)
        return torch.where(forced_B1 == FREE, scores, alone)


def check_finite(logp: Tensor) -> None:
    """Refuse log-probabilities that show a model gone wrong.

    Raises:
        NonFiniteError: a NaN or an infinity.
    """
    if not bool(torch.isfinite(logp).all()):
        raise NonFiniteError(
            "the model's logits are not finite while it writes",
            hint="check the weights, or use precision=float32",
        )
