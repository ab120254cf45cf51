"""Training runs of a few updates on two-layer models: what tests of the loop stand on."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tiny
import torch
from accelerate import Accelerator

from ketchup_cli import objectives
from ketchup_cli.models.encode import Limits, Row, collate, encode_prompts
from ketchup_cli.models.load import load_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.sources import reference_rows
from ketchup_cli.models.teacher import LiveTeacher, Teacher
from ketchup_cli.reporting import Reporter, SilentReporter
from ketchup_cli.signals import Batch, Prefixes
from ketchup_cli.specs import OptimizerSpec, RolloutSpec, TrainingSpec, ValidationSpec
from ketchup_cli.train.data import PromptSource, RowSource, Source
from ketchup_cli.train.metrics import MetricsLog, read_metrics
from ketchup_cli.train.resume import Checkpoints
from ketchup_cli.train.rollouts import RolloutSource
from ketchup_cli.train.run import Run

EXAMPLES = tiny.make_examples(24)
LIMITS = Limits(prompt=64, completion=64)
ROLLOUT = RolloutSpec(prompts=4, samples=2, max_new_tokens=6, unfinished="terminal")
NLL = ({"name": "nll"},)
KETCHUP = ({"name": "ketchup", "k": 2},)
KL = ({"name": "kl"},)

Tables = Sequence[Mapping[str, Any]]


def make_spec(**changes: Any) -> TrainingSpec:
    """Return the spec of a short run judged by the loss, every setting small."""
    settings: dict[str, Any] = {
        "updates": 6,
        "tokens_per_batch": 120,
        "dropout": 0.0,
        "checkpoint_every": 2,
        "optimizer": OptimizerSpec(learning_rate=1e-2, warmup=2),
        "validation": ValidationSpec(metric="loss", every=3, probe=0),
        "device": "cpu",
    }
    return TrainingSpec(**(settings | changes))


def data_rows(policy: Policy) -> Sequence[Row]:
    """Return the toy corpus as rows."""
    return reference_rows(policy, EXAMPLES, LIMITS).rows


def make_sources(
    policy: Policy, names: Sequence[Prefixes], spec: TrainingSpec, rollout: RolloutSpec
) -> dict[Prefixes, Source]:
    """Return sources of the toy corpus by who writes the completions."""
    sources: dict[Prefixes, Source] = {}
    for name in names:
        if name == "student":
            rows = encode_prompts(policy, EXAMPLES, LIMITS).rows
            prompts = PromptSource(rows, prompts=rollout.prompts, seed=spec.seed)
            sources[name] = RolloutSource(policy, prompts, rollout=rollout, seed=spec.seed)
        else:
            sources[name] = RowSource(
                data_rows(policy),
                tokens_per_batch=spec.tokens_per_batch,
                pad_id=policy.pad_id,
                seed=spec.seed,
                source=name,
            )
    return sources


def make_run(
    folder: Path,
    *,
    tables: Tables = NLL,
    spec: TrainingSpec | None = None,
    policy: Policy | None = None,
    teachers: Mapping[Prefixes, Teacher] | None = None,
    **parts: Any,
) -> Run:
    """Return a run of two-layer T5 models whose checkpoints and log lie in `folder`.

    Args:
        folder: made if need be.
        tables: the objective.
        spec: `make_spec()`, if not given.
        policy: the student; a T5 of seed 0 with the spec's dropout, if not given.
        teachers: the live T5 of seed 1 for every kind of completions, if not given.
        parts: `evaluate`, `sources`, `rollout`, `reporter`, `accelerator`, `checkpoints`, `reuse`.
    """
    spec = spec or make_spec()
    policy = policy or make_student(folder, spec)
    terms = objectives.terms(tables)
    names = tuple(dict.fromkeys(term.prefixes for term in terms))
    rollout = parts.pop("rollout", ROLLOUT)
    if teachers is None and any(term.needs.any_teacher for term in terms):
        teachers = dict.fromkeys(names, live_teacher())
    settings: dict[str, Any] = {
        "sources": make_sources(policy, names, spec, rollout),
        "evaluate": losing(policy),
        "reporter": SilentReporter(),
        "accelerator": Accelerator(cpu=True),
        "checkpoints": Checkpoints(folder / "state"),
    }
    return Run(
        policy=policy,
        terms=terms,
        spec=spec,
        teachers=teachers or {},
        log=MetricsLog(folder / "metrics.jsonl"),
        **(settings | parts),
    )


@functools.cache
def live_teacher() -> LiveTeacher:
    """Return the T5 of seed 1; nothing changes it."""
    return LiveTeacher(tiny.make_policy("t5", seed=1))


def make_student(folder: Path, spec: TrainingSpec) -> Policy:
    """Return the student as a stage loads it, so that dropout is the spec's."""
    source = folder / "student"
    if not source.exists():
        folder.mkdir(parents=True, exist_ok=True)
        tiny.make_policy_folder(source, "t5")
    return load_policy(source, device="cpu", dropout=spec.dropout)


def losing(policy: Policy) -> Callable[[], dict[str, float]]:
    """Return an evaluation that gives the loss on a few examples."""
    from ketchup_cli.stages.training import mean_loss

    rows = data_rows(policy)[:6]
    return lambda: {"loss": mean_loss(policy, rows, 400)}


def planted(metrics: Sequence[float], name: str = "bleu") -> Callable[[], dict[str, float]]:
    """Return an evaluation that gives these numbers in turn."""
    left = iter(metrics)
    return lambda: {name: next(left)}


def weights(policy: Policy) -> dict[str, torch.Tensor]:
    """Return a copy of all weights."""
    return {name: value.clone() for name, value in policy.model.state_dict().items()}


def same_weights(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Return whether two sets of weights are equal to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def distance(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    """Return the largest difference of any weight."""
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def log_of(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of the run's log that are updates."""
    return [line for line in read_metrics(folder / "metrics.jsonl") if "event" not in line]


class StoppingReporter:
    """Ends the run when it has counted some updates, like a signal between two of them."""

    def __init__(self, after: int) -> None:
        self._inner: Reporter = tiny.InterruptingReporter(after - 1)

    def note(self, label: str, text: str) -> None:
        """Ignore it."""
        del label, text

    def figures(self, line: object) -> None:
        """Ignore them."""

    def progress(self, label: str, *, total: int, unit: str, done: int = 0) -> Any:
        """Open a count that raises `tiny.Interrupted`; what was done before counts too."""
        return self._inner.progress(label, total=total, unit=unit, done=done)


class Batches:
    """A source that gives the batches it was made of, again and again."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches_given = list(batches)
        self.drawn = 0

    def batches(self, first: int, stride: int) -> Iterator[Batch]:
        """Return batches `first`, `first + stride`, ... endlessly."""
        for batch in itertools.islice(itertools.cycle(self.batches_given), first, None, stride):
            self.drawn += 1
            yield batch


def make_batch(policy: Policy, numbers: Sequence[int]) -> Batch:
    """Return these rows of the toy corpus as a batch."""
    rows = data_rows(policy)
    return collate([rows[number] for number in numbers], pad_id=policy.pad_id, source="data")
