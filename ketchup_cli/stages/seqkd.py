"""Let teachers write: completions of prompts, or prompts for references, or both.

Texts that a filter drops are counted by the first filter that does, with examples; those that
stay keep their example id and their rank, so that no line can slip.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, final

from ketchup_cli import corpora
from ketchup_cli.errors import DataError
from ketchup_cli.records import Generation
from ketchup_cli.reporting import Reporter
from ketchup_cli.spec import canonical
from ketchup_cli.specs import FiltersSpec, SeqkdSpec
from ketchup_cli.stages.answering import BACKWARD, Answers, answer, counted, describe, overview
from ketchup_cli.stages.answering import amount as amount
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input

FILES = {
    "teacher": (corpora.PSEUDO_TARGETS, "pseudo-targets"),
    BACKWARD: (corpora.PSEUDO_PROMPTS, "pseudo-prompts"),
}
"""What each teacher writes, and what it is called."""
DUPLICATE = "duplicate"
"""Why a pair of texts is dropped that was kept before."""
SHOWN = 3
"""Dropped texts a report shows for every reason."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A text beside its prompt."""

    text: str
    tokens: int
    """Tokens of the text, its end token included."""
    finished: bool
    prompt: str
    prompt_tokens: int


Filter = Callable[[Answered, FiltersSpec], bool]
"""Whether a text is dropped."""


@final
@dataclass(slots=True)
class Tally:
    """What the filters did so far."""

    kept: int = 0
    answered: set[str] = field(default_factory=set)
    """Ids of the examples that have a text."""
    dropped: Counter[str] = field(default_factory=Counter)
    shown: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    seen: set[bytes] | None = None
    """Digests of the pairs of texts kept so far, in either direction; None keeps duplicates."""


def plan(spec: SeqkdSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan's lines: how text is drawn, for how many prompts, what is dropped.

    Raises:
        SpecError: the corpus has no such split.
    """
    filters = spec.filters
    on = [
        "empty",
        *(["unfinished"] if filters.unfinished else []),
        *([f"over {filters.max_tokens} tokens"] if filters.max_tokens else []),
        *([f"length ratio over {filters.max_length_ratio:g}"] if filters.max_length_ratio else []),
        *([f"a word pair over {filters.max_repeat} times"] if filters.max_repeat else []),
        *(["copies of the prompt"] if filters.copies else []),
    ]
    ways = {
        "forward": (),
        "reverse": ("prompts for references",),
        "bidirectional": ("completions of prompts", "prompts for references", "every pair once"),
    }[spec.direction]
    direction = [("direction", f"{spec.direction}: {', '.join(ways)}")] if ways else []
    return (*direction, *describe(spec, inputs), ("filters", ", ".join(on)))


def run(
    spec: SeqkdSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write `pseudo-targets.jsonl`, `pseudo-prompts.jsonl` or both, and `report.json`.

    Rows stand in corpus order. A text of the first file is a completion of its example's prompt, one
    of the second a prompt for its example's first reference. Of both directions every pair of texts
    is kept once, the first time it occurs.

    Returns:
        Counts, and the speed of this run.

    Raises:
        SpecError: no such split, or a decoding the teacher cannot do.
        DataError: a prompt is longer than allowed, or no text passes the filters.
        NonFiniteError: the teacher's logits are not finite.
    """
    both = spec.direction == "bidirectional"
    seen: set[bytes] | None = set() if both else None
    found = {
        role: _write(spec, inputs, build, reporter, role=role, seen=seen)
        for role in ("teacher", BACKWARD)
        if role in _writers(spec)
    }
    report, speed = found["teacher"] if "teacher" in found else found[BACKWARD]
    if spec.direction != "forward":
        report = report | {"direction": spec.direction}
    if both:
        report = report | {"prompts": found[BACKWARD][0]}
    build.write_json("report.json", report)
    summary = {
        name: value for name, value in report.items() if name not in {"dropped_texts", "prompts"}
    }
    if both:
        prompts = found[BACKWARD][0]
        summary |= {f"prompts_{name}": prompts[name] for name in ("texts", "kept", "dropped")}
    return {"note": _note(spec, summary), **summary, "texts_per_s": speed}


def _writers(spec: SeqkdSpec) -> tuple[str, ...]:
    forward, backward = ("teacher",), (BACKWARD,)
    return {"forward": forward, "reverse": backward, "bidirectional": forward + backward}[
        spec.direction
    ]


def _write(
    spec: SeqkdSpec,
    inputs: Mapping[str, Input],
    build: Build,
    reporter: Reporter,
    *,
    role: str,
    seen: set[bytes] | None,
) -> tuple[dict[str, Any], float | None]:
    """Write the texts of one teacher; return what there is to say of them, and their speed."""
    answers = answer(spec, inputs, build, reporter, role=role)
    counts: Counter[str] = Counter()
    tally = Tally(seen=seen)
    file, kind = FILES[role]
    rows = passing(counted(answers, counts, spec=spec), spec.filters, answers=answers, tally=tally)
    build.write_rows(file, rows)
    if not tally.kept:
        raise DataError(
            f"no text passes the filters: {_told(tally.dropped)}",
            hint="look at the teacher's text, raise decoding.max_new_tokens, or loosen `filters`",
        )
    reasons = [*FILTERS, *([DUPLICATE] if seen is not None else [])]
    report = overview(spec, answers, counts) | {
        "kept": tally.kept,
        "examples_with_text": len(tally.answered),
        "dropped": {reason: tally.dropped[reason] for reason in reasons},
        "dropped_texts": tally.shown,
    }
    reporter.note(kind, f"{_note(spec, report)}; dropped {_told(tally.dropped) or 'none'}")
    return report, answers.texts_per_s


def _note(spec: SeqkdSpec, report: Mapping[str, Any]) -> str:
    more = f" and {report['prompts_kept']:,} prompts" if "prompts_kept" in report else ""
    return (
        f"{report['kept']:,} of {report['texts']:,} texts{more} of {spec.split},"
        f" {report['decoding']}"
    )


def passing(
    generations: Iterable[Generation], filters: FiltersSpec, *, answers: Answers, tally: Tally
) -> Iterator[Generation]:
    """Yield the texts no filter drops; `tally` counts both kinds while they pass."""
    prompts = answers.prompts
    sizes = {row.id: len(row.prompt) for row in answers.encoded.rows}
    for generation in generations:
        answered = Answered(
            text=generation.text,
            tokens=len(generation.tokens),
            finished=generation.stop == "eos",
            prompt=prompts[generation.id],
            prompt_tokens=sizes[generation.id],
        )
        reason = dropped_for(answered, filters)
        if reason is None and not _is_new(generation, answers, tally):
            reason = DUPLICATE
        if reason is None:
            tally.kept += 1
            tally.answered.add(generation.id)
            yield generation
            continue
        tally.dropped[reason] += 1
        shown = tally.shown.setdefault(reason, [])
        if len(shown) < SHOWN:
            shown.append({
                "id": generation.id,
                "sample": generation.sample,
                "prompt": answered.prompt,
                "text": generation.text,
            })


def _is_new(generation: Generation, answers: Answers, tally: Tally) -> bool:
    """Return whether the pair was not kept before, and remember it."""
    if tally.seen is None:
        return True
    pair = (answers.prompts[generation.id], generation.text)
    digest = hashlib.sha256(canonical(pair[::-1] if answers.backward else pair)).digest()
    new = digest not in tally.seen
    tally.seen.add(digest)
    return new


def dropped_for(answered: Answered, filters: FiltersSpec) -> str | None:
    """Return the name of the first filter that drops a text, or None."""
    return next((name for name, drops in FILTERS.items() if drops(answered, filters)), None)


def _unfinished(answered: Answered, filters: FiltersSpec) -> bool:
    return filters.unfinished and not answered.finished


def _empty(answered: Answered, filters: FiltersSpec) -> bool:
    del filters
    return not answered.text.strip()


def _too_long(answered: Answered, filters: FiltersSpec) -> bool:
    return 0 < filters.max_tokens < answered.tokens


def _length_ratio(answered: Answered, filters: FiltersSpec) -> bool:
    shorter, longer = sorted((answered.tokens, answered.prompt_tokens))
    return 0 < filters.max_length_ratio * shorter < longer


def _repeats(answered: Answered, filters: FiltersSpec) -> bool:
    if not filters.max_repeat:
        return False
    pairs = Counter(pairwise(answered.text.split()))
    return max(pairs.values(), default=0) > filters.max_repeat


def _copy(answered: Answered, filters: FiltersSpec) -> bool:
    return filters.copies and answered.text.split() == answered.prompt.split()


FILTERS: Mapping[str, Filter] = {
    "unfinished": _unfinished,
    "empty": _empty,
    "too_long": _too_long,
    "length_ratio": _length_ratio,
    "repeats": _repeats,
    "copy": _copy,
}
"""In the order they are asked; a text counts for the first that drops it."""


def _told(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in dropped.items() if count)
