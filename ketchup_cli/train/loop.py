"""The one training loop: batch -> signals -> loss -> step.

An update collects its batches first, counts their tokens over all processes, and only then goes
forward and backward batch by batch: a token weighs the same wherever it stands.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli.errors import NonFiniteError
from ketchup_cli.models.load import weights_of
from ketchup_cli.models.policy import Policy
from ketchup_cli.objectives import Term
from ketchup_cli.reporting import Progress
from ketchup_cli.signals import (
    Batch,
    Inputs,
    Needs,
    Prefixes,
    StudentSignal,
    TeacherSignal,
    TokenLoss,
    to_device,
)
from ketchup_cli.train.data import derived_seed
from ketchup_cli.train.optim import clip_gradients, learning_rate, set_learning_rate
from ketchup_cli.train.run import Outcome, Run, State, save, start

GAIN = "return"
"""The metric an objective reports its mean return under."""


@final
@dataclass(slots=True, kw_only=True)
class Collected:
    """Batches of one update by who wrote their completions, and what the teacher said of them."""

    batches: dict[Prefixes, list[Batch]]
    signals: dict[tuple[Prefixes, int], TeacherSignal] = field(default_factory=dict)


def train(run: Run) -> Outcome:
    """Train the student and leave the best weights in it; resumes where a killed run stopped.

    Raises:
        NonFiniteError: a loss or a gradient is NaN or infinite; the last checkpoint stays.
    """
    state = start(run)
    streams = _streams(run, state.update)
    collected = Collected(batches={})
    spec = run.spec
    with run.reporter.progress(
        "training", total=spec.updates, unit="updates", done=state.update
    ) as progress:
        if state.update == 0:
            _validate(run, state)
        while state.update < spec.updates and not state.ended:
            torch.manual_seed(derived_seed(spec.seed, state.update, run.accelerator.process_index))
            if state.update % run.reuse == 0:
                collected = _collect(run, streams)
            figures = _learn(run, state, collected)
            state.update += 1
            _tell(run, state, progress, figures)
            if _due(spec.validation.every, state.update) or state.update == spec.updates:
                _validate(run, state)
            if _due(spec.checkpoint_every, state.update) and state.update % run.reuse == 0:
                save(run, state)
    run.policy.model.load_state_dict(run.checkpoints.best(state.watch.best_update), strict=False)
    run.policy.module.eval()
    assert state.watch.best is not None
    return Outcome(
        updates=state.update,
        best_update=state.watch.best_update,
        best=state.watch.best,
        ended=state.ended,
        sentence=state.watch.sentence(state.ended),
        validations=tuple(state.validations),
    )


def _due(every: int, update: int) -> bool:
    return every > 0 and update % every == 0


def _streams(run: Run, update: int) -> dict[Prefixes, Iterator[Batch]]:
    """Return each source's batches from this update on, every process its own share."""
    world, rank = run.accelerator.num_processes, run.accelerator.process_index
    first = update // run.reuse * run.spec.accumulate * world + rank
    return {name: source.batches(first, world) for name, source in run.sources.items()}


def _collect(run: Run, streams: Mapping[Prefixes, Iterator[Batch]]) -> Collected:
    """Return the batches of the next update, sampled ones included."""
    count = run.spec.accumulate
    return Collected(
        batches={name: list(itertools.islice(stream, count)) for name, stream in streams.items()}
    )


def _learn(run: Run, state: State, collected: Collected) -> dict[str, float]:
    """Take one optimiser step and return the figures of the update."""
    run.policy.module.train()
    rate = learning_rate(run.spec.optimizer, state.update, run.spec.updates)
    set_learning_rate(state.optimizer, rate)
    state.optimizer.zero_grad(set_to_none=True)
    figures: dict[str, list[Tensor]] = defaultdict(list)
    counts: dict[str, float] = {}
    for prefixes, batches in collected.batches.items():
        tokens, sequences = _global_counts(run, batches)
        counts[f"{prefixes}_tokens"] = tokens
        counts[f"{prefixes}_sequences"] = sequences
        for index, batch in enumerate(batches):
            _backward(run, collected, (prefixes, index), (tokens, sequences), figures)
            _describe(batch, figures)
    norm = clip_gradients(run.policy.module.parameters(), run.spec.optimizer.max_norm)
    state.optimizer.step()
    # parts of the loss add up over the batches of an update; everything else is averaged
    means = {
        name: torch.stack(values).sum() if name.startswith("loss") else torch.stack(values).mean()
        for name, values in figures.items()
    }
    return {
        **_mean_over_processes(run, means),
        **counts,
        "gradient_norm": norm,
        "learning_rate": rate,
    }


def _global_counts(run: Run, batches: Sequence[Batch]) -> tuple[float, float]:
    """Return tokens and sequences of these batches over all processes."""
    tokens = sum(float(batch.mask_BT.sum()) for batch in batches)
    sequences = sum(float((batch.mask_BT.sum(dim=1) > 0).sum()) for batch in batches)
    pair = torch.tensor([tokens, sequences], dtype=torch.float64, device=run.accelerator.device)
    total = run.accelerator.reduce(pair, reduction="sum")
    return max(1.0, float(total[0])), max(1.0, float(total[1]))


def _backward(
    run: Run,
    collected: Collected,
    place: tuple[Prefixes, int],
    counts: tuple[float, float],
    figures: dict[str, list[Tensor]],
) -> None:
    """Go forward and backward on one batch; gradients add up."""
    prefixes, index = place
    batch = to_device(collected.batches[prefixes][index], run.policy.device)
    terms = [term for term in run.terms if term.prefixes == prefixes]
    student = student_signal(run.policy, batch)
    if place not in collected.signals:
        needs = merged_needs(terms)
        if needs.teacher != "none":
            collected.signals[place] = run.teachers[prefixes].signal(batch, needs, student)
    inputs = Inputs(batch=batch, student=student, teacher=collected.signals.get(place))
    total = torch.zeros((), device=run.policy.device)
    for term in terms:
        loss = term.objective(inputs)
        count = counts[0] if isinstance(loss, TokenLoss) else counts[1]
        part = F.reduce(loss, batch.mask_BT, count=count)
        total = total + term.weight * part
        figures[f"loss_{term.name}"].append(part.detach() * run.accelerator.num_processes)
        for name, value in F.reduce_metrics(loss, batch.mask_BT).items():
            figures[name].append(value)
    if not torch.isfinite(total):
        raise NonFiniteError(
            f"the loss on `{prefixes}` completions is {float(total)} (first example"
            f" `{batch.ids[0][:12]}`)",
            hint="--set precision=float32, or a lower --set optimizer.learning_rate",
        )
    figures["loss"].append(total.detach() * run.accelerator.num_processes)
    if total.requires_grad:
        # gradients are averaged over processes, and `count` is global already
        run.accelerator.backward(total * run.accelerator.num_processes)


def student_signal(policy: Policy, batch: Batch) -> StudentSignal:
    """Return what the student says about a batch; gradients flow."""
    logits_BTV = policy.logits(batch)
    return StudentSignal(
        logits_BTV=logits_BTV, logp_taken_BT=F.log_probs_of(logits_BTV, batch.tokens_BT)
    )


def merged_needs(terms: Sequence[Term]) -> Needs:
    """Return what all terms of one batch need together."""
    needs = terms[0].needs
    for term in terms[1:]:
        needs = needs | term.needs
    return needs


def _describe(batch: Batch, figures: dict[str, list[Tensor]]) -> None:
    """Add lengths, and for sampled completions the share that ended by themselves."""
    sizes_B = batch.mask_BT.sum(dim=1)
    figures[f"{batch.source}_length"].append(sizes_B.mean() if len(batch.ids) else sizes_B.sum())
    if batch.finished is not None:
        figures["finished"].append(torch.tensor(batch.finished))


def _mean_over_processes(run: Run, figures: Mapping[str, Tensor]) -> dict[str, float]:
    names = sorted(figures)
    if not names:
        return {}
    values = torch.stack([figures[name].float().to(run.accelerator.device) for name in names])
    reduced = run.accelerator.reduce(values, reduction="mean")
    return dict(zip(names, reduced.tolist(), strict=True))


def _tell(run: Run, state: State, progress: Progress, figures: Mapping[str, float]) -> None:
    """Log the update, and show the few figures one watches."""
    run.log.write({"update": state.update, **figures})
    if GAIN in figures:
        state.gains.append(figures[GAIN])
    tokens = sum(value for name, value in figures.items() if name.endswith("_tokens"))
    shown = [f"loss {figures['loss']:.3f}"] if "loss" in figures else []
    for name, label in ((GAIN, "return"), ("entropy", "entropy"), ("finished", "finished")):
        if name in figures:
            shown.append(f"{label} {figures[name]:.2f}")
    shown.append(f"grad {figures['gradient_norm']:.2f}")
    if state.validations:
        metric = run.spec.validation.metric
        shown.append(
            f"dev {metric} {state.validations[-1][metric]:.2f}"
            f" (best {state.watch.best:.2f} @{state.watch.best_update})"
        )
    progress.status("  ".join(shown))
    progress.advance(tokens=int(tokens))


def _validate(run: Run, state: State) -> None:
    """Judge the student on the dev split; keep its weights if they are the best so far."""
    figures = dict(run.evaluate())
    metric = figures[run.spec.validation.metric]
    gain = sum(state.gains) / len(state.gains) if state.gains else None
    state.gains.clear()
    if state.watch.improves(metric):
        run.checkpoints.keep_best(state.update, weights_of(run.policy.model))
    state.ended = state.watch.observe(state.update, metric, gain=gain)
    state.validations.append({"update": state.update, **figures})
    run.log.write({"event": "validation", "update": state.update, **figures})
    shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
    run.reporter.note("validation", f"update {state.update}: {shown}")
