"""What `ketchup doctor` looks at: every check by its name, made of what is configured.

The table at the end is the order of the report; a check that lacks an input says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ketchup_cli.doctor import (
    agreement,
    caches,
    machine,
    pairing,
    pseudo_targets,
    template,
    tokens,
    vocabulary,
)
from ketchup_cli.doctor.result import Check, counts, failed, not_checked, passed, warned
from ketchup_cli.doctor.scoring import spread
from ketchup_cli.doctor.shift import NAME as SHIFT
from ketchup_cli.doctor.shift import shift
from ketchup_cli.errors import KetchupError
from ketchup_cli.models.load import precision_warnings
from ketchup_cli.stages import endpoints
from ketchup_cli.stages.bench import Bench, Case, Unavailable
from ketchup_cli.stages.gate import templates
from ketchup_cli.stages.resources import disk_plan, memory_plan
from ketchup_cli.store import verify

if TYPE_CHECKING:
    from ketchup_cli.models.encode import Row
    from ketchup_cli.models.speech import Speech
    from ketchup_cli.store.find import Input

__all__ = ["CHECKS", "counts", "examine"]

REFERENCES, ARTIFACTS = "references", "artifacts"

IMPORT_AGAIN = (
    "ketchup corpus, from files whose lines belong together and with the template the teacher was"
    " trained with"
)

Maker = Callable[[Bench], Check]


def examine(case: Case) -> Iterator[Check]:
    """Yield every check in the order of the table; models are loaded when the first one asks.

    Raises nothing of ours: what cannot be read or loaded is a failed check with that message.
    """
    bench = Bench(case)
    for name, make in CHECKS:
        yield _made(name, make, bench)


def _made(name: str, make: Maker, bench: Bench) -> Check:
    try:
        return make(bench)
    except Unavailable as missing:
        return not_checked(name, missing.reason)
    except KetchupError as error:
        return failed(name, error.message, error.hint or "ketchup verify")


def _artifacts(bench: Bench) -> Check:
    """Hold every input against its manifest."""
    inputs = [item for item in bench.case.inputs.values() if item.id is not None]
    found = list(filter(None, map(_damage, inputs)))
    if found:
        remedy = found[0].hint or "ketchup verify"
        return failed(ARTIFACTS, [error.message for error in found], remedy)
    plain = len(bench.case.inputs) - len(inputs)
    told = f"every byte of {len(inputs)} artifacts is as in its manifest"
    return passed(ARTIFACTS, f"{told}; {plain} plain folders have none" if plain else told)


def _damage(item: Input) -> KetchupError | None:
    """Return what is wrong with an artifact, if anything is."""
    try:
        verify.ensure_intact(item.path)
    except KetchupError as error:
        return error
    return None


def _of_speech(check: Callable[[Speech, Speech], Check]) -> Maker:
    return lambda bench: check(bench.speech("teacher"), bench.speech("student"))


def _loads(role: str) -> Maker:
    def make(bench: Bench) -> Check:
        found = bench.loaded(role)
        if isinstance(found, KetchupError):
            raise found
        size = found.model.num_parameters()
        told = f"`{bench.case.inputs[role].label}`, {found.kind}, {size:,} parameters"
        return passed(f"{role} loads", told, figures={"parameters": size})

    return make


def _rows(bench: Bench) -> Check:
    return vocabulary.rows(bench.teacher, bench.student, bench.batch)


def _template(bench: Bench) -> Check:
    examples = [bench.examples[number] for number in spread(len(bench.examples))]
    known = templates(bench.case.inputs)
    return template.template(bench.teacher, bench.student, examples, known=known)


def _references(bench: Bench) -> Check:
    return _pairing(bench, bench.references, len(bench.examples), (REFERENCES, IMPORT_AGAIN))


def _pairing(
    bench: Bench,
    read: Callable[[Sequence[int]], list[Row]],
    count: int,
    words: tuple[str, str],
) -> Check:
    """Read a few rows with those beside them, and compare their texts; `words`: name, remedy."""
    teacher, found = bench.teacher, pairing.inner(count)
    numbers = sorted({number + step for number in found for step in (-1, 0, 1)})
    rows = read(numbers)
    chosen = [numbers.index(number) for number in found]
    return pairing.pairing(teacher, rows, chosen=chosen, name=words[0], remedy=words[1])


def _shift(bench: Bench) -> Check:
    teacher = bench.teacher
    return shift(teacher, bench.references(spread(len(bench.examples))))


def _self_distillation(bench: Bench) -> Check:
    return agreement.self_distillation(bench.teacher, bench.batch)


def _precision(role: str) -> Maker:
    def make(bench: Bench) -> Check:
        policy = bench.policy(role)
        found = [
            agreement.precision(policy, bench.batch, dtype, role=role)
            for dtype in bench.precisions(role)
        ]
        worst = ("fail", "warn", "pass")
        check = min(found, key=lambda check: worst.index(check.status))
        slow = precision_warnings(policy)
        if check.status == "pass" and slow:
            return warned(check.name, [*check.evidence, *slow], "--set precision=float32")
        return check

    return make


def _cache_teacher(bench: Bench) -> Check:
    return caches.cache_teacher(bench.input("cache"), bench.case.inputs.get("teacher"))


def _cache_text(bench: Bench) -> Check:
    cached, rows = bench.cache_checked
    layout = cached.cache.meta.layout
    told = (
        f"tokenizer `{layout.tokenizer[7:15]}` and the prompts and lengths of {len(rows):,} rows are"
        " those of the corpus"
    )
    return passed(caches.TEXT, told, figures={"rows": len(rows)})


def _cache_statistics(bench: Bench) -> Check:
    cached, rows = bench.cache_checked
    return caches.cache_statistics(cached, bench.cache_maker, rows)


def _count(bench: Bench) -> Check:
    made = bench.input("pseudo-targets")
    return pseudo_targets.count_and_order(made, bench.generations, bench.split)


def _text(bench: Bench) -> Check:
    return pseudo_targets.text_of_tokens(bench.teacher, bench.generations)


def _writer(bench: Bench) -> Check:
    return pseudo_targets.writer(bench.input("pseudo-targets"), bench.input("teacher"))


def _pairs(bench: Bench) -> Check:
    words = (pseudo_targets.PAIRS, pseudo_targets.AGAIN)
    return _pairing(bench, bench.pseudo_targets, len(bench.generations), words)


def _disk(bench: Bench) -> Check:
    return machine.disk(bench.case.store, disk_plan(bench))


def _memory(bench: Bench) -> Check:
    return machine.memory(memory_plan(bench), kind=bench.student.device.type)


def _judge(bench: Bench) -> Check:
    if bench.case.judge is None:
        raise Unavailable(bench.case.absent.get(endpoints.NAME, "no judge is asked"))
    return endpoints.judge_check(bench.case.judge)


CHECKS: tuple[tuple[str, Maker], ...] = (
    (machine.DEVICE, lambda bench: machine.device(bench.case.spec.device)),
    (machine.FILES, lambda bench: machine.file_system(bench.case.store)),
    (ARTIFACTS, _artifacts),
    (tokens.TOKENIZERS, _of_speech(tokens.tokenizers)),
    (tokens.END, _of_speech(tokens.end_token)),
    (tokens.START, _of_speech(tokens.decoder_start)),
    (tokens.OTHERS, _of_speech(tokens.bos_and_pad)),
    ("teacher loads", _loads("teacher")),
    ("student loads", _loads("student")),
    (vocabulary.NAME, _rows),
    (template.NAME, _template),
    (REFERENCES, _references),
    (SHIFT, _shift),
    (agreement.SELF, _self_distillation),
    ("precision of the teacher", _precision("teacher")),
    ("precision of the student", _precision("student")),
    (caches.TEACHER, _cache_teacher),
    (caches.TEXT, _cache_text),
    (caches.STATISTICS, _cache_statistics),
    (pseudo_targets.COUNT, _count),
    (pseudo_targets.TEXT, _text),
    (pseudo_targets.WRITER, _writer),
    (pseudo_targets.PAIRS, _pairs),
    (machine.DISK, _disk),
    (machine.MEMORY, _memory),
    (endpoints.NAME, _judge),
)
"""Name and maker of every check, in the order of the report."""
