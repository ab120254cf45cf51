"""The one training loop: batch -> signals -> loss -> step.

An update collects its batches first, counts their tokens over all processes, and only then goes
forward and backward batch by batch: a token weighs the same wherever it stands.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli.errors import NonFiniteError
from ketchup_cli.models.policy import Policy
from ketchup_cli.objectives import Term
from ketchup_cli.reporting import human_figure
from ketchup_cli.signals import (
    Batch,
    BatchLoss,
    Inputs,
    Loss,
    Needs,
    Prefixes,
    SequenceLoss,
    StudentSignal,
    TeacherSignal,
    to_device,
)
from ketchup_cli.train.data import derived_seed
from ketchup_cli.train.extras import average_gradients
from ketchup_cli.train.optim import clip_gradients, learning_rate, set_learning_rate
from ketchup_cli.train.processes import of_first, summed
from ketchup_cli.train.run import Outcome, Run, State, keep_best, put_best, save, start
from ketchup_cli.train.tally import VARIANCE, Tally, describe

GAIN = "return"
"""The metric an objective reports its mean return under."""


@final
@dataclass(slots=True, kw_only=True)
class Collected:
    """Batches of one update by who wrote their completions, and what the teacher said of them."""

    batches: dict[Prefixes, list[Batch]] = field(default_factory=dict)
    signals: dict[tuple[Prefixes, int], TeacherSignal] = field(default_factory=dict)
    """Kept only for batches that are used again: a dense signal is large."""
    update: int = 0
    """The update they are collected for."""


def train(run: Run) -> Outcome:
    """Train the student and leave the best weights in it; resumes where a killed run stopped.

    Raises:
        NonFiniteError: a loss, a gradient or a dev figure is NaN or infinite; the last checkpoint
            stays.
    """
    state = start(run)
    streams = _streams(run, state.update)
    collected = Collected()
    spec = run.spec
    with run.reporter.progress(
        "training", total=spec.updates, unit="updates", done=state.update
    ) as progress:
        if state.update == 0:
            _validate(run, state)
        while state.update < spec.updates and not state.ended:
            began = time.perf_counter()
            torch.manual_seed(derived_seed(spec.seed, state.update, run.accelerator.process_index))
            _collect(run, state, streams, collected)
            figures = _learn(run, state, collected)
            state.update += 1
            tokens = _log(run, state, figures, seconds=time.perf_counter() - began)
            if _due(spec.validation.every, state.update) or state.update == spec.updates:
                _validate(run, state)
            # after the validation, so that a line never shows the one before
            progress.status(_status(run, state, figures))
            progress.advance(tokens=int(tokens))
            if _saves(run, state.update):
                save(run, state)
    put_best(run, state.watch.best_update)
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


def _saves(run: Run, update: int) -> bool:
    """Return whether a checkpoint is due: one a cycle at most, where no batch is half used."""
    every, cycle = run.spec.checkpoint_every, run.cycle
    return _due(cycle, update) and every > 0 and update // every > (update - cycle) // every


def _streams(run: Run, update: int) -> dict[Prefixes, Iterator[Batch]]:
    """Return each source's batches from this update on, every process its own share."""
    world, rank = run.accelerator.num_processes, run.accelerator.process_index
    per_batch = run.spec.accumulate * world
    return {
        name: source.batches(
            (update // run.uses(name) * per_batch if run.replay is None else run.replay.taken(name))
            + rank,
            world,
        )
        for name, source in run.sources.items()
    }


def _collect(
    run: Run, state: State, streams: Mapping[Prefixes, Iterator[Batch]], collected: Collected
) -> None:
    """Replace the batches that had all their updates by the next ones, sampled ones included."""
    collected.update = state.update
    if run.replay is not None:
        name = run.replay.turn(state.update, tuple(streams))
        batches = run.replay.batches(state.update, name, streams[name])
        collected.batches = {name: list(itertools.islice(batches, run.spec.accumulate))}
        return
    for name, stream in streams.items():
        if _due(run.uses(name), state.update):
            for place in [place for place in collected.signals if place[0] == name]:
                del collected.signals[place]
            collected.batches[name] = list(itertools.islice(stream, run.spec.accumulate))


def _learn(run: Run, state: State, collected: Collected) -> dict[str, float]:
    """Take one optimiser step and return the figures of the update."""
    run.policy.module.train()
    rate = learning_rate(run.spec.optimizer, state.update, run.spec.updates)
    set_learning_rate(state.optimizer, rate)
    state.optimizer.zero_grad(set_to_none=True)
    tally = Tally()
    counts: dict[str, float] = {}
    for prefixes, batches in collected.batches.items():
        tokens, sequences = _global_counts(run, batches)
        counts[f"{prefixes}_tokens"] = tokens
        counts[f"{prefixes}_sequences"] = sequences
        for index, batch in enumerate(batches):
            _backward(run, collected, (prefixes, index), (tokens, sequences), tally)
            describe(batch, tally)
    average_gradients(run.accelerator, run.extras)
    norm = clip_gradients(run.policy.module.parameters(), run.spec.optimizer.max_norm)
    for extra in run.extras:
        # by itself: what the student's gradient is cut to must not depend on its companions
        clip_gradients(extra.weights(), run.spec.optimizer.max_norm)
    state.optimizer.step()
    return {
        **tally.figures(run.accelerator),
        **counts,
        "gradient_norm": norm,
        "learning_rate": rate,
    }


def _global_counts(run: Run, batches: Sequence[Batch]) -> tuple[float, float]:
    """Return own tokens and sequences of these batches over all processes."""
    tokens = sum(float(F.own_mask(batch.mask_BT, batch.forced_BT).sum()) for batch in batches)
    sequences = sum(float((batch.mask_BT.sum(dim=1) > 0).sum()) for batch in batches)
    tokens, sequences = summed(run.accelerator, (tokens, sequences))
    return max(1.0, tokens), max(1.0, sequences)


def _backward(
    run: Run,
    collected: Collected,
    place: tuple[Prefixes, int],
    counts: tuple[float, float],
    tally: Tally,
) -> None:
    """Go forward and backward on one batch; gradients add up."""
    prefixes, index = place
    batch = to_device(collected.batches[prefixes][index], run.policy.device)
    terms = [term for term in run.terms if term.prefixes == prefixes]
    student = student_signal(run.policy, batch, hidden=merged_needs(terms).hidden)
    teacher = _teacher_signal(run, collected, place, batch=batch, student=student)
    total = torch.zeros((), device=run.policy.device)
    inputs = F.own_steps(
        Inputs(batch=batch, student=student, teacher=teacher, update=collected.update)
    )
    mask_BT = inputs.batch.mask_BT
    for term in terms:
        parts = dict(run.parts.get((term.name, prefixes), {}))
        loss = term.objective(replace(inputs, parts=parts))
        count = counts[1] if isinstance(loss, SequenceLoss) else counts[0]
        part = F.reduce(loss, mask_BT, count=count)
        total = total + term.weight * part
        _note(tally, loss, mask_BT, label=_label(run, term))
        tally.add_part(f"loss_{term.name}{_label(run, term)}", part)
    if not torch.isfinite(total):
        raise NonFiniteError(
            f"the loss on `{prefixes}` completions is {total.item()} (first example"
            f" `{batch.ids[0][:12]}`)",
            hint="--set precision=float32, or a lower --set optimizer.learning_rate",
        )
    tally.add_part("loss", total)
    if total.requires_grad:
        # gradients are averaged over processes, and `count` is global already
        run.accelerator.backward(total * run.accelerator.num_processes)


def _teacher_signal(
    run: Run,
    collected: Collected,
    place: tuple[Prefixes, int],
    *,
    batch: Batch,
    student: StudentSignal,
) -> TeacherSignal | None:
    """Return what the teacher says of a batch; asked once, however often the batch is used."""
    prefixes, _ = place
    needs = merged_needs([term for term in run.terms if term.prefixes == prefixes])
    if not needs.any_teacher:
        return None
    if place in collected.signals:
        return collected.signals[place]
    signal = run.teachers[prefixes].signal(batch, needs, student)
    if run.uses(prefixes) > 1:
        collected.signals[place] = signal
    return signal


def _label(run: Run, term: Term) -> str:
    """Return what tells a term's figures from those of its namesake on other completions."""
    twice = sum(other.name == term.name for other in run.terms) > 1
    return f"_{term.prefixes}" if twice else ""


def _note(tally: Tally, loss: Loss, mask_BT: Tensor, *, label: str) -> None:
    """Add the metrics of a loss, each weighted by what it is a mean over."""
    tokens = mask_BT.sum()
    one = tokens if isinstance(loss, BatchLoss) else torch.ones(())
    weights = (one, (mask_BT.sum(dim=1) > 0).sum(), tokens)
    for name, value in F.reduce_metrics(loss, mask_BT).items():
        mean = name.removesuffix(VARIANCE)
        variance = VARIANCE if mean != name else ""
        tally.add_mean(f"{mean}{label}{variance}", value, weight=weights[loss.metrics[mean].ndim])


def student_signal(policy: Policy, batch: Batch, *, hidden: bool = False) -> StudentSignal:
    """Return what the student says about a batch, in one forward pass; gradients flow."""
    hidden_LBTH = encoder_LBSH = length_logp_B = None
    if hidden:
        logits_BTV, hidden_LBTH, encoder_LBSH = policy.logits_with_layers(batch)
    else:
        logits_BTV, length_logp_B = policy.logits_with_lengths(batch)
    return StudentSignal(
        logits_BTV=logits_BTV,
        logp_taken_BT=F.log_probs_of(logits_BTV, batch.tokens_BT),
        hidden_LBTH=hidden_LBTH,
        encoder_LBSH=encoder_LBSH,
        length_logp_B=length_logp_B,
    )


def merged_needs(terms: Sequence[Term]) -> Needs:
    """Return what all terms of one batch need together."""
    needs = terms[0].needs
    for term in terms[1:]:
        needs = needs | term.needs
    return needs


def _log(run: Run, state: State, figures: Mapping[str, float], *, seconds: float) -> float:
    """Log the update, and return the tokens it took."""
    tokens = sum(value for name, value in figures.items() if name.endswith("_tokens"))
    speed = {"tokens_per_s": tokens / max(seconds, 1e-9)}
    turns = run.replay.figures() if run.replay is not None else {}
    run.log.write({"update": state.update, **figures, **turns, **speed})
    # where the objective also learns from other completions, its name carries whose
    gain = figures.get(GAIN, figures.get(f"{GAIN}_student"))
    if gain is not None:
        state.gains.append(gain)
    state.sides.note(figures)
    return tokens


def _status(run: Run, state: State, figures: Mapping[str, float]) -> str:
    """Return the few figures one watches."""
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
    return "  ".join(shown)


def _validate(run: Run, state: State) -> None:
    """Judge the student on the dev split; keep its weights if they are the best so far."""
    figures = of_first(run.accelerator, run.evaluate())
    for name, value in figures.items():
        if not math.isfinite(value):
            raise NonFiniteError(
                f"dev {name} is {value} after update {state.update}",
                hint="a lower --set optimizer.learning_rate",
            )
    metric = figures[run.spec.validation.metric]
    gain = sum(state.gains) / len(state.gains) if state.gains else None
    state.gains.clear()
    if state.watch.improves(metric, loss=figures.get("loss")):
        keep_best(run, state.update)
    if run.replay is not None:
        run.replay.observe(figures["loss"])
    state.ended = state.watch.observe(state.update, metric, gain=gain, loss=figures.get("loss"))
    state.validations.append({"update": state.update, **figures})
    best = {"best_update": state.watch.best_update}
    run.log.write({"event": "validation", "update": state.update, **figures, **best})
    shown = "  ".join(f"{name} {human_figure(value)}" for name, value in figures.items())
    run.reporter.note("validation", f"update {state.update}: {shown}")
    warning = state.sides.judge(state.update, count=run.spec.validation.guard)
    if warning:
        run.log.write({"event": "warning", "update": state.update, "text": warning})
        run.reporter.note("warning", warning)
