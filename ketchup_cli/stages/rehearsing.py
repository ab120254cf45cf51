"""Stored rollouts inside training: which prompts they settle, what of them is rehearsed, and checks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import msgspec

from ketchup_cli import corpora
from ketchup_cli.errors import DataError, MismatchError, SpecError
from ketchup_cli.objectives import Term
from ketchup_cli.records import Example
from ketchup_cli.reporting import Reporter
from ketchup_cli.rewards.partition import Partition, partition
from ketchup_cli.specs import DistillSpec
from ketchup_cli.store import manifest
from ketchup_cli.store.digest import MANIFEST
from ketchup_cli.store.find import Input

if TYPE_CHECKING:
    from ketchup_cli.models.encode import Encoded, Limits, Row
    from ketchup_cli.models.policy import Policy
    from ketchup_cli.train.rehearsal import RehearsalSource

ROLE = "rollouts"
ROLLOUTS = "rollouts.jsonl"
CHECKED_ROWS = 32
"""Stored completions whose log-probabilities are computed again before training."""
TOLERANCE = 1e-3
"""Largest difference of a token's log-probability (nats): float32, in batches of another shape."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Rollouts that were read, and what they say about their prompts."""

    parted: Partition
    label: str
    writer: str | None
    """Digest of the model that wrote them, where it is known."""

    def explored(self, examples: Sequence[Example]) -> list[Example]:
        """Return the examples that are not known, those without samples among them.

        Raises:
            SpecError: none is left.
        """
        known = set(self.parted.known)
        left = [example for example in examples if example.id not in known]
        if not left:
            raise SpecError(
                f"all {len(examples)} prompts are known by `{self.label}`; none is left to explore",
                hint="--set objective.prefixes=rehearsal, or a higher --set rehearsal.threshold",
            )
        return left

    def encoded(self, student: Policy, examples: Sequence[Example], limits: Limits) -> Encoded:
        """Return what is rehearsed as rows; a row's position is its place among `rehearsed`.

        Raises:
            SpecError: nothing is rehearsed.
            DataError: a row is longer than allowed, or of no example.
        """
        from ketchup_cli.models.encode import encode_pairs

        by_id = {example.id: example for example in examples}
        kept = self.parted.rehearsed
        if not kept:
            raise SpecError(
                f"`{self.label}` has no right sample of a known prompt to rehearse",
                hint="a lower --set rehearsal.threshold, or --set objective.coefficient=0",
            )
        strange = [row.id for row in kept if row.id not in by_id]
        if strange:
            raise DataError(
                f"{len(strange)} rollouts of `{self.label}` answer no example of this split",
                hint="ketchup rollout on the same corpus and split",
            )
        tokens = [row.tokens for row in kept]
        return encode_pairs(student, [by_id[row.id] for row in kept], tokens, limits)

    @property
    def logps(self) -> dict[int, Sequence[float]]:
        """Log-probabilities of the tokens, by position."""
        return {place: row.logps for place, row in enumerate(self.parted.rehearsed)}

    @property
    def put(self) -> dict[int, Sequence[int]]:
        """Places of the tokens a calculator put, by position; nothing where there was none."""
        rows = enumerate(self.parted.rehearsed)
        return {place: row.put for place, row in rows if row.forced is not msgspec.UNSET}

    def source(self, rows: Sequence[Row], spec: DistillSpec, student: Policy) -> RehearsalSource:
        """Return batches of the rehearsed rows."""
        from ketchup_cli.train.rehearsal import RehearsalSource

        return RehearsalSource(
            rows,
            self.logps,
            put=self.put,
            tokens_per_batch=spec.tokens_per_batch,
            pad_id=student.pad_id,
            seed=spec.seed,
        )


def read_stored(
    spec: DistillSpec,
    terms: Sequence[Term],
    inputs: Mapping[str, Input],
    *,
    student: Policy,
    reporter: Reporter,
) -> Stored | None:
    """Return the rollouts some term rehearses, parted, and say how; None where none does.

    Raises:
        MismatchError: another tokenizer, or samples of a distribution that was bent.
        DataError: rows that cannot be read, or were not rewarded.
    """
    if all(term.prefixes != "rehearsal" for term in terms):
        return None
    given = inputs[ROLE]
    _check_report(given, student)
    if any(term.prefixes == "student" for term in terms):
        _check_calculator(given, calculator=spec.rollout.calculator)
    rows = corpora.read_rollouts(given.path / ROLLOUTS)
    parted = partition(rows, threshold=spec.rehearsal.threshold, held=spec.rehearsal.held)
    reporter.note(
        "rehearsal",
        f"{len(parted.known):,} prompts known, {len(parted.open):,} open;"
        f" {len(parted.rehearsed):,} samples rehearsed,"
        f" {parted.unconfirmed:,} known prompts without one",
    )
    return Stored(parted=parted, label=given.label, writer=_writer(given))


def _writer(given: Input) -> str | None:
    if not (given.path / MANIFEST).is_file():
        return None
    found = manifest.read(given.path).inputs
    return next((entry.digest for entry in found if entry.role == "model"), None)


def _check_report(given: Input, student: Policy) -> None:
    """Refuse rollouts of another tokenizer, or whose log-probabilities are not the model's own."""
    report: dict[str, Any] = json.loads((given.path / "report.json").read_bytes())
    sampling = report["sampling"]
    bent = {name: sampling[name] for name in ("temperature", "top_k", "top_p")}
    if bent != {"temperature": 1.0, "top_k": 0, "top_p": 1.0}:
        shown = ", ".join(f"{name} {value:g}" for name, value in bent.items())
        raise MismatchError(
            f"rollouts `{given.label}` were drawn at {shown}; their log-probabilities are not the"
            " model's own",
            hint="ketchup rollout, which samples plainly unless told otherwise",
        )
    if report["tokenizer"] != student.fingerprint:
        raise MismatchError(
            f"rollouts `{given.label}` were written with tokenizer `{report['tokenizer'][7:15]}`; the"
            f" student's is `{student.fingerprint[7:15]}`",
            hint="ketchup rollout with a model of the student's tokenizer",
        )


def _check_calculator(given: Input, *, calculator: bool) -> None:
    """Refuse rollouts drawn with a calculator where the student explores without one, or turned round."""
    report: dict[str, Any] = json.loads((given.path / "report.json").read_bytes())
    if bool(report["sampling"].get("calculator")) == calculator:
        return
    drawn, explores = ("without", "with") if calculator else ("with", "without")
    raise MismatchError(
        f"rollouts `{given.label}` were drawn {drawn} a calculator, and the student explores"
        f" {explores} one: what is known to one is not to the other",
        hint=f"--set rollout.calculator={str(not calculator).lower()}",
    )


def check_stored(
    stored: Stored, rows: Sequence[Row], student: Policy, *, started_from: Input
) -> float | None:
    """Return the largest difference of stored log-probabilities from the student's own, as it begins.

    None where the student is not the model that wrote them: then they need not agree.

    Raises:
        MismatchError: the student wrote them, and does not agree with itself.
    """
    if stored.writer != started_from.digest or student.precision != "float32":
        return None
    worst = _largest_difference(stored, rows[:CHECKED_ROWS], student)
    if worst > TOLERANCE:
        raise MismatchError(
            f"the student wrote `{stored.label}`, and now gives a token another log-probability, by up"
            f" to {worst:.2g} nats: another template, precision or version",
            hint="ketchup rollout again",
        )
    return worst


def _largest_difference(stored: Stored, rows: Sequence[Row], student: Policy) -> float:
    from ketchup_cli import functional as F
    from ketchup_cli.signals import to_device
    from ketchup_cli.stages.training import on_tokens
    from ketchup_cli.train.rehearsal import with_logps

    found: list[float] = []

    def visit(batch: Any, places_N: Any) -> float:
        held = with_logps(batch, stored.logps, put=stored.put)
        held = to_device(held, student.device)
        assert held.behaviour_logp_BT is not None
        own_BT = F.log_probs_of(student.logits(held), held.tokens_BT)
        off_BT = (own_BT - held.behaviour_logp_BT).abs()
        off_N = F.zero_padding(off_BT, F.own_mask(held.mask_BT, held.forced_BT)).flatten()[places_N]
        found.append(float(off_N.max()))
        return 0.0

    on_tokens(student, rows, visit, tokens_per_batch=512)
    return max(found)
