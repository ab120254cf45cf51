"""From a frozen model's states to numbers per token, a chunk of logits at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from ketchup_cli.errors import DataError, ModelError, NonFiniteError
from ketchup_cli.functional.logprobs import (
    Statistics,
    expectation,
    teacher_statistics,
    top_entries,
)
from ketchup_cli.functional.sampled import sampled_entries

if TYPE_CHECKING:
    from ketchup_cli.models.policy import Policy
    from ketchup_cli.signals import Batch

Layers = tuple[Tensor, Tensor | None]
"""States of the decoder's layers, `[L, B, T, H]`, and of the encoder's, `[L, B, S, H]`."""

CHUNK_TOKENS = 512

CPU_CHUNK_BYTES, CPU_CHUNK_TOKENS = 1 << 24, 128
"""On a CPU a chunk need not be larger than the first, unless it would hold fewer tokens than the
second: a matrix product gains nothing from more rows, and what is small stays near the core."""

CACHE_BYTES = 1 << 22
"""Logits reduced at once on a CPU: what is read and written several times should stay near the
cores, and still give each of them rows enough to be worth waking; measured."""

BLOCKS_PER_CHUNK = 4
"""Least number of blocks in a chunk: what is computed from a block (its exponentials, the student's
logits of the same tokens) then stays below one more chunk."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is wanted of every token beside its place.

    Example: `Request(temperatures=(1.0,), top=32)` is what `cache-teacher` asks by default.
    """

    temperatures: tuple[float, ...] = (1.0,)
    top: int = 0
    """Largest logits kept per token; 0 keeps none."""
    dense: bool = False
    """Whether the logits themselves are kept, `[N, V]`."""
    layers: bool = False
    """Whether the states of every layer are kept."""
    student_logits_BTV: Tensor | None = None
    """Where given, the teacher's logit is averaged under the student's distribution as well."""
    uniforms_NG: Tensor | None = None
    """Where given, as many tokens are drawn at each step, at the first temperature: one by each."""
    chunk_tokens: int = CHUNK_TOKENS
    """Tokens whose logits over the vocabulary exist at once."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """Numbers of N real tokens, row after row; `places_N` is where each stands in `[B * T]`."""

    places_N: Tensor
    statistics: Statistics
    entries: tuple[Tensor, Tensor, Tensor] | None
    """`(ids_NM, gaps_NM, tail_NK)` of the largest logits."""
    draws: tuple[Tensor, Tensor] | None
    """`(ids_NG, counts_NG)` of the tokens drawn."""
    student_expected_N: Tensor | None
    dense_NV: Tensor | None
    hidden_NH: Tensor
    """The states the head made the logits of."""
    layers: Layers | None
    """States of every layer, zeros on padding."""


@torch.no_grad()
def score(policy: Policy, batch: Batch, request: Request) -> Reduced:
    """Run the frozen model on a batch and reduce its logits; padding is never computed.

    At no time do more than two chunks of `[chunk_tokens, V]` exist, other than a dense result.

    Args:
        policy: the teacher, in eval mode.
        batch: on the policy's device.
        request: what is wanted.

    Raises:
        DataError: there is no completion token.
        ModelError: the policy is in training mode, so dropout would change its numbers.
        NonFiniteError: a logit is NaN or infinite; the message names example and step.
    """
    if policy.module.training:
        raise ModelError("the teacher is in training mode", hint="call `policy.module.eval()`")
    places_N = batch.mask_BT.flatten().nonzero()[:, 0]
    if not len(places_N):
        raise DataError("a batch without a single completion token", hint="drop empty completions")
    hidden_BTH, layers = _states(policy, batch, layers=request.layers)
    hidden_NH = hidden_BTH.flatten(0, 1)[places_N]
    collector = _Collector(batch, places_N, request, vocabulary=policy.vocabulary)
    visit_blocks(policy, hidden_NH, chunk_tokens=request.chunk_tokens, visit=collector.visit)
    reduced = collector.result(hidden_NH, layers)
    _check_finite(policy, batch, reduced)
    return reduced


def _states(policy: Policy, batch: Batch, *, layers: bool) -> tuple[Tensor, Layers | None]:
    """Return the states the head reads and, if asked for, those of every layer."""
    if not layers:
        return policy.hidden(batch), None
    hidden_BTH, decoder_LBTH, encoder_LBSH = policy.hidden_with_layers(batch)
    _clear(decoder_LBTH, batch.mask_BT)
    if encoder_LBSH is not None:
        _clear(encoder_LBSH, batch.prompt_mask_BS)
    return hidden_BTH, (decoder_LBTH, encoder_LBSH)


def _clear(states_LBTH: Tensor, mask_BT: Tensor) -> None:
    """Write zeros over the states of padding."""
    states_LBTH.masked_fill_(~mask_BT.bool()[None, :, :, None], 0.0)


def visit_blocks(
    policy: Policy,
    hidden_NH: Tensor,
    *,
    chunk_tokens: int,
    visit: Callable[[slice, Tensor], None],
) -> None:
    """Call `visit(which tokens, their logits_NV)` for all tokens in turn.

    One chunk of logits is computed at a time and shown block by block.
    """
    if hidden_NH.device.type == "cpu":
        enough = max(CPU_CHUNK_TOKENS, CPU_CHUNK_BYTES // (4 * policy.vocabulary))
        chunk_tokens = min(chunk_tokens, enough)
    for start in range(0, hidden_NH.shape[0], chunk_tokens):
        # the chunk lives in the callee's frame alone, so it is gone before the next one is made
        _visit_chunk(policy.head(hidden_NH[start : start + chunk_tokens]), start, visit)


def _visit_chunk(logits_NV: Tensor, first: int, visit: Callable[[slice, Tensor], None]) -> None:
    rows, vocabulary = logits_NV.shape
    block = -(-rows // BLOCKS_PER_CHUNK)
    if logits_NV.device.type == "cpu":
        block = min(block, max(1, CACHE_BYTES // (4 * vocabulary)))
    for start in range(0, rows, block):
        end = min(start + block, rows)
        visit(slice(first + start, first + end), logits_NV[start:end])


@final
class _Collector:
    """Fills one column per number with what the request wants of each block."""

    def __init__(
        self, batch: Batch, places_N: Tensor, request: Request, *, vocabulary: int
    ) -> None:
        self.places_N = places_N
        self.tokens_N = batch.tokens_BT.flatten()[places_N]
        self.request = request
        # columns are made before any logits: a small tensor kept from every block would sit in the
        # gap its chunk leaves in memory, and the next chunk would need a new place
        self.columns = {
            name: torch.empty((len(places_N), *shape), dtype=dtype, device=places_N.device)
            for name, (dtype, shape) in _columns(request).items()
        }
        self.dense_NV: Tensor | None = None
        if request.dense:
            self.dense_NV = torch.empty((len(places_N), vocabulary), device=places_N.device)

    def visit(self, which: slice, logits_NV: Tensor) -> None:
        """Reduce the logits of the tokens `which`."""
        request = self.request
        statistics = teacher_statistics(
            logits_NV, self.tokens_N[which], temperatures=request.temperatures
        )
        self._keep(which, **{name: getattr(statistics, name) for name in STATISTICS})
        if request.top:
            ids_NM, gaps_NM, tail_NK = top_entries(
                logits_NV,
                m=request.top,
                lse_NK=statistics.lse_NK,
                temperatures=request.temperatures,
            )
            self._keep(which, ids_NM=ids_NM, gaps_NM=gaps_NM, tail_NK=tail_NK)
        if request.uniforms_NG is not None:
            u_NG = request.uniforms_NG[which].to(logits_NV.device)
            ids_NG, counts_NG = sampled_entries(
                logits_NV, u_NG, temperature=request.temperatures[0]
            )
            self._keep(which, ids_NG=ids_NG, counts_NG=counts_NG)
        if request.student_logits_BTV is not None:
            student_NV = request.student_logits_BTV.detach().flatten(0, 1)[self.places_N[which]]
            self._keep(which, student_expected_N=expectation(logits_NV, student_NV))
        if self.dense_NV is not None:
            self.dense_NV[which] = logits_NV

    def _keep(self, which: slice, **values: Tensor) -> None:
        for name, value in values.items():
            self.columns[name][which] = value

    def result(self, hidden_NH: Tensor, layers: Layers | None) -> Reduced:
        """Return everything collected."""
        columns = self.columns
        return Reduced(
            places_N=self.places_N,
            statistics=Statistics(**{name: columns[name] for name in STATISTICS}),
            entries=(
                (columns["ids_NM"], columns["gaps_NM"], columns["tail_NK"])
                if self.request.top
                else None
            ),
            draws=(
                None
                if self.request.uniforms_NG is None
                else (columns["ids_NG"], columns["counts_NG"])
            ),
            student_expected_N=columns.get("student_expected_N"),
            dense_NV=self.dense_NV,
            hidden_NH=hidden_NH,
            layers=layers,
        )


def spread(values: Tensor, places_N: Tensor, shape: Sequence[int]) -> Tensor:
    """Return values `[N, ...]` of real tokens at their places in `[B, T, ...]`, zeros elsewhere."""
    flat = values.new_zeros((shape[0] * shape[1], *values.shape[1:]))
    flat[places_N] = values
    return flat.reshape(*shape, *values.shape[1:])


STATISTICS = tuple(field.name for field in fields(Statistics))


def _columns(request: Request) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Return dtype and shape, per token, of all a request keeps."""
    temperatures = len(request.temperatures)
    draws = 0 if request.uniforms_NG is None else request.uniforms_NG.shape[1]
    sizes = {"N": (), "NK": (temperatures,), "NM": (request.top,), "NG": (draws,)}
    names = [*STATISTICS]
    if request.top:
        names += ["ids_NM", "gaps_NM", "tail_NK"]
    if draws:
        names += ["ids_NG", "counts_NG"]
    if request.student_logits_BTV is not None:
        names += ["student_expected_N"]
    whole = {"ids_NM", "ids_NG", "counts_NG"}
    return {
        name: (torch.int32 if name in whole else torch.float32, sizes[name.rpartition("_")[2]])
        for name in names
    }


def _check_finite(policy: Policy, batch: Batch, reduced: Reduced) -> None:
    # one NaN or infinity among the logits makes their mean or their largest one
    total_N = reduced.statistics.mean_N + reduced.statistics.best_N
    if bool(total_N.isfinite().all()):
        return
    place = int(reduced.places_N[int((~total_N.isfinite()).nonzero()[0])])
    row, step = divmod(place, batch.tokens_BT.shape[1])
    hint = "check the teacher's weights for NaN"
    if policy.precision != "float32":
        hint = "--set precision=float32"
    raise NonFiniteError(
        f"the teacher's logits for example `{batch.ids[row][:12]}`, step {step}, are not finite",
        hint=hint,
    )
