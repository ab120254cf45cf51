"""A teacher that learns beside the student: its part, its share, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ketchup_cli.objectives import Term
from ketchup_cli.reporting import Reporter
from ketchup_cli.signals import Prefixes, TeacherPart

if TYPE_CHECKING:
    from torch import Tensor

    from ketchup_cli.models.adapters import Adapter
    from ketchup_cli.models.encode import Row
    from ketchup_cli.models.policy import Policy
    from ketchup_cli.models.teacher import LiveTeacher, Teacher
    from ketchup_cli.signals import Batch
    from ketchup_cli.stages.training import Probe
    from ketchup_cli.train.extras import Extra

PARTS = "parts.safetensors"
"""What learnt beside the student, in its folder; no part of the model there."""

EXTRA = "teacher"
"""What the names of the part's tensors begin with beside the student."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """The part of a teacher that learns, with who answers now."""

    part: TeacherPart
    adapter: Adapter
    teachers: Mapping[Prefixes, Teacher]
    kept: tuple[Row, ...] | None = None
    """Rows whose states a cache keeps, where the part learns behind one: it knows no others."""

    @property
    def extra(self) -> Extra:
        """What the loop trains, resumes and saves."""
        from ketchup_cli.train.extras import Extra

        return Extra(name=EXTRA, module=self.adapter.module, rate=self.part.rate)

    def probe(self, live: LiveTeacher | None, student: Policy, *, tokens_per_batch: int) -> Probe:
        """Return a measure of both models on given rows; of the student alone without a live one.

        `kl_probe` is KL(teacher as it came || student) per token, `teacher_drift` KL(teacher ||
        teacher as it came), `teacher_loss` the teacher's negative log-likelihood of the references
        (all in nats), `ece` and `teacher_ece` the calibration errors of the likeliest token. Of a
        teacher behind kept states the drift alone is told, on as many of the rows it knows.
        """
        from ketchup_cli.stages.training import on_tokens

        def measure(rows: Sequence[Row]) -> dict[str, float]:
            sums = _Sums(student, self, None if live is None else live.policy)
            on_tokens(student, rows, sums.visit, tokens_per_batch=tokens_per_batch)
            if self.kept is not None:
                known = self.kept[: len(rows)]
                on_tokens(student, known, sums.visit_kept, tokens_per_batch=tokens_per_batch)
            return sums.figures()

        return measure


def part_of(terms: Sequence[Term]) -> TeacherPart | None:
    """Return what the terms train of the teacher; they agree, as `objectives.terms` has seen to."""
    parts = (term.objective.teacher_part for term in terms)
    return next((part for part in parts if part is not None), None)


def give_part(
    terms: Sequence[Term],
    teachers: Mapping[Prefixes, Teacher],
    live: LiveTeacher | None,
    *,
    rows: Sequence[Row],
    seed: int,
    reporter: Reporter,
) -> Learner | None:
    """Give the teacher the part the terms train, and say how large it is; None if they train none.

    Args:
        terms: of the loss.
        teachers: who answers, by whose completions; a cache among them holds last states.
        live: the model, if there is one; it is changed in place.
        rows: what those terms learn from.
        seed: of the run.
        reporter: told the size.

    Raises:
        ModelError: the model has no place for the part.
    """
    from ketchup_cli.models.cached_teacher import CachedTeacher
    from ketchup_cli.models.trained_teacher import TrainedTeacher
    from ketchup_cli.train.data import derived_seed

    part = part_of(terms)
    if part is None:
        return None
    (prefixes,) = {term.prefixes for term in terms if term.objective.teacher_part is not None}
    start = derived_seed("teacher part", seed)
    adapter = _adapter(teachers[prefixes], live, part, seed=start)
    changed = {
        name: TrainedTeacher(teacher, adapter) if name == prefixes or teacher is live else teacher
        for name, teacher in teachers.items()
    }
    reporter.note("teacher part", _size(adapter, part, live))
    kept = tuple(rows) if isinstance(teachers[prefixes], CachedTeacher) else None
    return Learner(part=part, adapter=adapter, teachers=changed, kept=kept)


def _adapter(
    teacher: Teacher, live: LiveTeacher | None, part: TeacherPart, *, seed: int
) -> Adapter:
    from ketchup_cli.models.adapters import HeadAdapter, HeadNetwork, attach
    from ketchup_cli.models.cached_teacher import CachedTeacher

    if isinstance(teacher, CachedTeacher):
        layout = teacher.cache.meta.layout
        network = HeadNetwork(layout.width, layout.vocabulary, rank=part.rank, seed=seed)
        return HeadAdapter(teacher, network)
    assert live is not None
    return attach(live.policy, part, seed=seed)


def _size(adapter: Adapter, part: TeacherPart, live: LiveTeacher | None) -> str:
    own = adapter.size()
    named = f"{part.kind}, {own:,} numbers learn"
    if live is None:
        return named
    whole = sum(weight.numel() for weight in live.policy.model.parameters())
    before = whole - own if part.kind == "lora" else whole
    return f"{named}, {100 * own / before:.2f} % of the teacher's"


@final
class _Sums:
    """Sums over the tokens of a probe."""

    def __init__(self, student: Policy, learner: Learner, teacher: Policy | None) -> None:
        self._student, self._learner, self._teacher = student, learner, teacher
        self._sums: dict[str, tuple[float, int]] = {}
        self._bins: dict[str, Tensor] = {}

    def visit(self, batch: Batch, places_N: Tensor) -> float:
        """Add the tokens of a batch."""
        from ketchup_cli import functional as F
        from ketchup_cli.stages.training import chunks

        tokens_N = batch.tokens_BT.flatten()[places_N]
        ours_NH = self._student.hidden(batch).flatten(0, 1)[places_N]
        for part in chunks(len(places_N)):
            self._calibrate("ece", self._student.head(ours_NH[part]), tokens_N[part])
        if self._teacher is None:
            return 0.0
        # a part behind kept states knows no other rows than those
        live = self._learner.kept is None
        own_NV = self._learner.adapter.logits(batch).flatten(0, 1)[places_N] if live else None
        with self._learner.adapter.plain():
            theirs_NH = self._teacher.hidden(batch).flatten(0, 1)[places_N]
            for part in chunks(len(places_N)):
                plain_NV = self._teacher.head(theirs_NH[part])
                ours_NV = self._student.head(ours_NH[part])
                self._add("kl_probe", F.kl(plain_NV[None], ours_NV[None]))
                if own_NV is not None:
                    self._add("teacher_drift", F.kl(own_NV[part][None], plain_NV[None]))
                    self._judge(own_NV[part], tokens_N[part])
        return 0.0

    def visit_kept(self, batch: Batch, places_N: Tensor) -> float:
        """Add how far the head with its part is from the head as it came, at kept states."""
        from ketchup_cli import functional as F
        from ketchup_cli.models.adapters import HeadAdapter
        from ketchup_cli.stages.training import chunks

        adapter = self._learner.adapter
        assert isinstance(adapter, HeadAdapter)
        states_NH, plain, own = adapter.heads(batch)
        for part in chunks(len(places_N)):
            own_NV, plain_NV = own(states_NH[part]), plain(states_NH[part])
            self._add("teacher_drift", F.kl(own_NV[None], plain_NV[None]))
        return 0.0

    def _judge(self, own_NV: Tensor, tokens_N: Tensor) -> None:
        from ketchup_cli import functional as F

        self._add("teacher_loss", -F.log_probs_of(own_NV[None], tokens_N[None]))
        self._calibrate("teacher_ece", own_NV, tokens_N)

    def _add(self, name: str, values_1N: Tensor) -> None:
        total, count = self._sums.get(name, (0.0, 0))
        self._sums[name] = (total + float(values_1N.sum()), count + values_1N.numel())

    def _calibrate(self, name: str, logits_NV: Tensor, tokens_N: Tensor) -> None:
        from ketchup_cli import functional as F

        bins = F.calibration_bins(*F.confidence(logits_NV, tokens_N))
        self._bins[name] = self._bins[name] + bins if name in self._bins else bins

    def figures(self) -> dict[str, float]:
        """Return the means, and the calibration errors."""
        from ketchup_cli import functional as F

        means = {name: total / count for name, (total, count) in self._sums.items()}
        return means | {name: float(F.calibration_error(bins)) for name, bins in self._bins.items()}
