"""Writing token by token: transformers' `generate` in rounds, finished rows left behind.

A batch is as slow as its longest text. So `generate` is asked for a few tokens at a time, and
between two rounds the rows that ended leave the batch and the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList
from transformers.modeling_outputs import BaseModelOutput

from ketchup_cli.models.encode import pad
from ketchup_cli.models.generation.calculator import Calculator, Force
from ketchup_cli.models.generation.choosing import (
    Choosing,
    Sampling,
    by_numbers,
    most_likely,
)
from ketchup_cli.models.policy import Policy, left_padded

if TYPE_CHECKING:
    from ketchup_cli.models.generation.mixing import Guide

ROUND = 8
"""Tokens of one round; 4 to 8 was fastest, a round costs about as much as half a token."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Completions, right-padded: `logp_BT` is 0 past the end, `finished_B` says who ended."""

    tokens_BT: Tensor
    mask_BT: Tensor
    logp_BT: Tensor
    finished_B: Tensor
    forced_BT: Tensor | None = None
    """Boolean: tokens a calculator put, at log-probability 0; None where there is no calculator."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The rows still being written, and all the model needs to go on with them."""

    rows: Tensor
    """Their places in the result."""
    ids_BT: Tensor
    """What the decoder has read: the start token or the prompt, then the completion."""
    mask_BS: Tensor
    """Which prompt tokens are real."""
    states_BSH: Tensor | None = None
    """The encoder's answer, for encoder-decoders."""
    cache: Any = None
    """Keys and values of what was read; it changes in place."""

    def inputs(self) -> dict[str, Any]:
        """Return the arguments of `generate`."""
        ones = torch.ones_like(self.ids_BT)
        if self.states_BSH is None:
            mask = torch.cat([self.mask_BS, ones[:, self.mask_BS.shape[1] :]], dim=1)
            arguments = {"input_ids": self.ids_BT, "attention_mask": mask}
        else:
            arguments = {
                "encoder_outputs": BaseModelOutput(last_hidden_state=self.states_BSH),
                "attention_mask": self.mask_BS,
                "decoder_input_ids": self.ids_BT,
            }
            if self.cache is not None:
                # its length tells `generate` how much of the ids the cache has seen
                arguments["decoder_attention_mask"] = ones
        if self.cache is not None:
            arguments["past_key_values"] = self.cache
        return arguments

    def without(self, ended_B: Tensor) -> Front:
        """Return the front without the rows that ended."""
        if not bool(ended_B.any()):
            return self
        kept = (~ended_B).nonzero().squeeze(1)
        self.cache.batch_select_indices(kept)
        return replace(
            self,
            rows=self.rows[kept],
            ids_BT=self.ids_BT[kept],
            mask_BS=self.mask_BS[kept],
            states_BSH=None if self.states_BSH is None else self.states_BSH[kept],
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """How completions are drawn: the random numbers `[B, limit]`, and from which distribution."""

    u_BT: Tensor
    sampling: Sampling
    guide: Guide | None = None
    """Who is mixed into the writer's distribution."""

    def choosing(
        self, rows: Tensor, step: int, *, vocabulary: int, force: Force | None = None
    ) -> Choosing:
        """Return the choice of tokens for these rows from this step on."""
        return Choosing(
            by_numbers(self.u_BT[rows.cpu(), step:]),
            vocabulary=vocabulary,
            sampling=self.sampling,
            mix=self.guide.mix if self.guide else None,
            force=force,
        )


@contextmanager
def resting(policy: Policy) -> Iterator[None]:
    """Make the policy ready to answer: no gradient, no dropout."""
    training = [module for module in policy.module.modules() if module.training]
    if training:
        policy.module.eval()
    try:
        with torch.no_grad(), policy.autocast():
            yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def writing(policy: Policy) -> Iterator[None]:
    """Make the policy ready to write: no gradient, no dropout, no settings but ours."""
    settings = policy.model.generation_config
    # `generate` fills what a call leaves open from here: penalties, forced tokens, other ends
    policy.model.generation_config = GenerationConfig()
    try:
        with resting(policy):
            yield
    finally:
        policy.model.generation_config = settings


def settings_of(policy: Policy, **changed: Any) -> GenerationConfig:
    """Return the settings of one call of `generate`."""
    return GenerationConfig(
        pad_token_id=policy.pad_id,
        eos_token_id=policy.eos_id,
        decoder_start_token_id=policy.start_id if policy.kind == "encoder-decoder" else None,
        return_dict_in_generate=True,
        do_sample=False,
        **changed,
    )


def read(policy: Policy, prompts: Sequence[Sequence[int]], *, copies: int) -> Front:
    """Read the prompts once and return a front of `copies` rows for each, in their order."""
    prompt_BS, mask_BS = (item.to(policy.device) for item in pad(prompts, pad_id=policy.pad_id))
    rows = torch.arange(len(prompts) * copies, device=policy.device)
    if policy.kind == "encoder-decoder":
        encoder = policy.model.get_encoder()
        states_BSH = encoder(input_ids=prompt_BS, attention_mask=mask_BS).last_hidden_state
        return Front(
            ids_BT=torch.full((len(rows), 1), policy.start_id, device=policy.device),
            mask_BS=mask_BS.repeat_interleave(copies, dim=0),
            states_BSH=states_BSH.repeat_interleave(copies, dim=0),
            rows=rows,
        )
    prompt_BS, mask_BS = left_padded(prompt_BS, mask_BS)
    return Front(
        ids_BT=prompt_BS.repeat_interleave(copies, dim=0),
        mask_BS=mask_BS.repeat_interleave(copies, dim=0),
        cache=_prefilled(policy, prompt_BS, mask_BS, copies=copies),
        rows=rows,
    )


def _prefilled(policy: Policy, prompt_BS: Tensor, mask_BS: Tensor, *, copies: int) -> Any:
    """Return the cache of all prompt tokens but the last, or None where it saves nothing."""
    if copies == 1 or prompt_BS.shape[1] == 1:
        return None
    seen_BS = mask_BS[:, :-1]
    cache = policy.model.base_model(
        input_ids=prompt_BS[:, :-1],
        attention_mask=seen_BS,
        position_ids=(seen_BS.cumsum(dim=1) - 1).clamp(min=0),
        use_cache=True,
    ).past_key_values
    cache.batch_repeat_interleave(copies)
    return cache


def write(
    policy: Policy,
    front: Front,
    *,
    limit: int,
    kept: Mapping[str, Any],
    draw: Draw | None = None,
    calculator: Calculator | None = None,
) -> Written:
    """Write completions greedily, or as random numbers say; call it inside `writing`.

    Args:
        policy: who writes.
        front: the prompts as `read` returned them; its cache is used up.
        limit: tokens after which a completion is cut.
        kept: further settings of `generate`.
        draw: random numbers and the distribution they draw from, or None for the most likely token.
        calculator: completes expressions, if there is one.

    Raises:
        NonFiniteError: the model's logits are not finite.
    """
    count, device = len(front.rows), policy.device
    tokens_BT = torch.full((count, limit), policy.pad_id, device=device)
    logp_BT = torch.zeros(count, limit, device=device)
    length_B = torch.full((count,), limit, device=device)
    finished_B = torch.zeros(count, dtype=torch.bool, device=device)
    forced_BT = torch.zeros(count, limit, dtype=torch.bool, device=device)
    force = None if calculator is None else calculator.force(front.ids_BT.shape[1])
    step = 0
    while step < limit and len(front.rows):
        choosing = _choosing(policy, front.rows, step, draw=draw, force=force)
        settings = settings_of(policy, max_new_tokens=min(ROUND, limit - step), **kept)
        front, new_BN = _round(policy, front, settings, choosing)
        stop = step + new_BN.shape[1]
        tokens_BT[front.rows, step:stop] = new_BN
        logp_BT[front.rows, step:stop] = choosing.log_probs(new_BN.shape[1])
        forced_BN = choosing.forced(new_BN.shape[1])
        if forced_BN is not None:
            forced_BT[front.rows, step:stop] = forced_BN
        ends_BN = new_BN == policy.eos_id
        ended_B = ends_BN.any(dim=1)
        ended = front.rows[ended_B]
        length_B[ended] = step + ends_BN[ended_B].int().argmax(dim=1) + 1
        finished_B[ended] = True
        front, step = front.without(ended_B), stop
        if draw is not None and draw.guide is not None:
            draw.guide.leave(ended_B)
    written = _trimmed(tokens_BT, logp_BT, length_B, finished_B, pad_id=policy.pad_id)
    if calculator is None:
        return written
    size = written.tokens_BT.shape[1]
    return replace(written, forced_BT=forced_BT[:, :size] & written.mask_BT.bool())


def _choosing(
    policy: Policy, rows: Tensor, step: int, *, draw: Draw | None, force: Force | None
) -> Choosing:
    if draw is None:
        return Choosing(most_likely, vocabulary=policy.vocabulary, force=force)
    return draw.choosing(rows, step, vocabulary=policy.vocabulary, force=force)


def _round(
    policy: Policy, front: Front, settings: GenerationConfig, choosing: Choosing
) -> tuple[Front, Tensor]:
    """Return the front after one call of `generate`, and the tokens it added."""
    output = policy.model.generate(
        **front.inputs(),
        generation_config=settings,
        logits_processor=LogitsProcessorList([choosing]),
    )
    count = output.sequences.shape[1] - front.ids_BT.shape[1]
    after = replace(front, ids_BT=output.sequences, cache=output.past_key_values)
    return after, choosing.chosen(count)


def _trimmed(
    tokens_BT: Tensor, logp_BT: Tensor, length_B: Tensor, finished_B: Tensor, *, pad_id: int
) -> Written:
    size = int(length_B.max()) if len(length_B) else 0
    steps_T = torch.arange(size, device=tokens_BT.device)
    real_BT = steps_T[None] < length_B[:, None]
    return Written(
        tokens_BT=tokens_BT[:, :size].masked_fill(~real_BT, pad_id),
        mask_BT=real_BT.float(),
        logp_BT=logp_BT[:, :size].masked_fill(~real_BT, 0.0),
        finished_B=finished_B,
    )
