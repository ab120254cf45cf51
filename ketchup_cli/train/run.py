"""What a training run is made of, and how it begins again after a kill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from accelerate import Accelerator
from torch import Tensor, nn

from ketchup_cli.models.load import weights_of
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.teacher import Teacher
from ketchup_cli.objectives import Term
from ketchup_cli.reporting import Reporter
from ketchup_cli.signals import NEW_TEXT, Prefixes
from ketchup_cli.specs import TrainingSpec
from ketchup_cli.train.data import Source
from ketchup_cli.train.extras import Extra, Place, restore_all, tensors_of
from ketchup_cli.train.metrics import MetricsLog
from ketchup_cli.train.optim import build_optimizer, optimizer_tensors, restore_optimizer
from ketchup_cli.train.replay import Replay
from ketchup_cli.train.resume import Checkpoints
from ketchup_cli.train.sides import Sides
from ketchup_cli.train.stopping import Ended, Watch


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything a run is made of; nothing in it changes but the student's weights."""

    policy: Policy
    terms: tuple[Term, ...]
    spec: TrainingSpec
    sources: Mapping[Prefixes, Source]
    teachers: Mapping[Prefixes, Teacher]
    evaluate: Callable[[], Mapping[str, float]]
    """Figures on the dev split, the metric of `spec.validation` among them."""
    checkpoints: Checkpoints
    log: MetricsLog
    reporter: Reporter
    accelerator: Accelerator
    extras: tuple[Extra, ...] = ()
    """What learns beside the student, those of `parts` included."""
    parts: Mapping[Place, nn.ParameterDict] = field(default_factory=dict)
    """Learnable tensors of the objectives, by term."""
    replay: Replay | None = None
    """Takes turns between the sources, where it is asked for."""
    reuse: int = 1
    """Updates taken on the same completions of the student; data is read afresh every time."""

    def uses(self, prefixes: Prefixes) -> int:
        """Return how many updates are taken on a batch of this source."""
        return self.reuse if prefixes in NEW_TEXT else 1

    @property
    def cycle(self) -> int:
        """Updates after which every source stands at the beginning of a batch."""
        return max(self.uses(prefixes) for prefixes in self.sources)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run went."""

    updates: int
    best_update: int
    best: float
    ended: Ended
    sentence: str
    validations: tuple[Mapping[str, float], ...]


@final
@dataclass(slots=True, kw_only=True)
class State:
    """What changes from update to update, the weights apart."""

    update: int
    optimizer: Any
    watch: Watch
    gains: list[float] = field(default_factory=list)
    """Mean returns since the last validation."""
    sides: Sides = field(default_factory=Sides)
    validations: list[dict[str, float]] = field(default_factory=list)
    ended: Ended = ""


def start(run: Run) -> State:
    """Return the state to go on from: the newest checkpoint, or the beginning."""
    run.policy.runner = run.accelerator.prepare(run.policy.module)
    state = State(
        update=0,
        optimizer=build_optimizer(run.policy.module, run.spec.optimizer, run.extras),
        watch=Watch(spec=run.spec.validation),
    )
    found = run.checkpoints.latest()
    if found is None:
        run.log.begin()
        size = {"updates": run.spec.updates, "metric": run.spec.validation.metric}
        run.log.write({"event": "begin", "update": 0, **size})
        return state
    weights = _under("weights/", found.tensors)
    run.policy.model.load_state_dict(weights, strict=False)
    restore_all(run.extras, found.tensors)
    if run.replay is not None:
        run.replay.restore(found.facts["replay"], _under("replay/", found.tensors))
    restore_optimizer(state.optimizer, _under("optimizer/", found.tensors))
    state.update = found.update
    state.watch.restore(found.facts["watch"])
    state.gains = list(found.facts["gains"])
    state.sides.restore(found.facts["sides"])
    state.validations = list(found.facts["validations"])
    state.ended = found.facts.get("ended", "")
    run.log.resume(found.update)
    run.reporter.note("resume", f"from update {found.update}")
    return state


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def keep_best(run: Run, update: int) -> None:
    """Keep the weights as they are, the best so far."""
    run.checkpoints.keep_best(update, weights_of(run.policy.model) | tensors_of(run.extras))


def put_best(run: Run, update: int) -> None:
    """Put the weights of that update back into student and extras."""
    best = run.checkpoints.best(update)
    run.policy.model.load_state_dict(best, strict=False)
    restore_all(run.extras, best)


def save(run: Run, state: State) -> None:
    """Write a checkpoint, on the main process."""
    if not run.accelerator.is_main_process:
        return
    tensors = {f"weights/{n}": v for n, v in weights_of(run.policy.model).items()}
    tensors |= tensors_of(run.extras)
    tensors |= {f"optimizer/{n}": v for n, v in optimizer_tensors(state.optimizer)}
    facts = {
        "watch": state.watch.to_facts(),
        "gains": state.gains,
        "sides": state.sides.to_facts(),
        "validations": state.validations,
        "ended": state.ended,
    }
    if run.replay is not None:
        facts["replay"] = run.replay.facts()
        tensors |= {f"replay/{name}": value for name, value in run.replay.tensors().items()}
    run.checkpoints.save(state.update, tensors, facts)
