"""One command per stage: its inputs by role, then the shared options."""

from collections.abc import Mapping
from pathlib import Path

from ketchup_cli.cli import options as o
from ketchup_cli.cli.following import AFTER
from ketchup_cli.cli.inputs import split_files
from ketchup_cli.cli.request import Common, Request
from ketchup_cli.cli.settings import TEXT_FLAG, Layer, check_k
from ketchup_cli.errors import SpecError
from ketchup_cli.spec import Table

EXAMPLES: Mapping[str, str] = {
    "corpus": "ketchup corpus --train data/train.jsonl.gz --dev data/dev.jsonl.gz",
    "new-model": "ketchup new-model --set layers=2 --set width=128 --name fresh",
    "shrink": "ketchup shrink --set encoder=2 --set decoder=1 --name smaller",
    "train": "ketchup train --set updates=100 --name trained",
    "cache-teacher": "ketchup cache-teacher",
    "distill": "ketchup distill --k 4",
    "lab": "ketchup lab --student kl-student --set batches=16",
    "angles": "ketchup angles --student kl-student",
    "generate": "ketchup generate --model kl-student --split test",
    "score": "ketchup score --generations kl-student-test",
}
"""A line for each stage that runs as printed in examples/en-nl, once its pipeline has."""


def corpus(
    train: o.FileOption = None,
    dev: o.FileOption = None,
    test: o.FileOption = None,
    dataset: o.DatasetOption = None,
    prompt_field: o.PromptFieldOption = None,
    reference_field: o.ReferenceFieldOption = None,
    config: o.ConfigOption = None,
    sets: o.SetOption = None,
    store: o.StoreOption = None,
    name: o.NameOption = None,
    dry_run: o.DryRunOption = False,
    json: o.JsonOption = False,
) -> None:
    """Import text files into a corpus artifact.

    Reads JSON Lines, CSV, TSV, Parquet and Moses pairs, gzip too, or a `datasets` name.
    """
    shared = o.common(config, sets, store, name, dry_run, json)
    files = [
        item
        for split, text in (("train", train), ("dev", dev), ("test", test))
        if text is not None
        for item in split_files(split, text)
    ]
    flags: Table = {}
    if dataset is not None and Path(dataset).is_dir():
        files.append(("dataset", Path(dataset)))
    elif dataset is not None:
        from ketchup_cli.corpora import hub

        flags["dataset"] = hub.pinned(dataset)
    elif not files:
        raise SpecError("no file is named", hint=EXAMPLES["corpus"])
    if prompt_field is not None:
        flags["prompt_field"] = prompt_field
    if reference_field:
        flags["reference_field"] = (
            reference_field[0] if len(reference_field) == 1 else reference_field
        )
    _run("corpus", shared, {}, files=tuple(files), flags=_layer("a flag", flags))


def new_model(
    corpus: o.CorpusOption = None,
    config: o.ConfigOption = None,
    sets: o.SetOption = None,
    store: o.StoreOption = None,
    name: o.NameOption = None,
    dry_run: o.DryRunOption = False,
    json: o.JsonOption = False,
) -> None:
    """Make a tokenizer and a model with random weights.

    The tokenizer is learned from the corpus's train split.
    """
    shared = o.common(config, sets, store, name, dry_run, json)
    _run("new-model", shared, {"corpus": corpus})


def shrink(
    teacher: o.TeacherOption = None,
    config: o.ConfigOption = None,
    sets: o.SetOption = None,
    store: o.StoreOption = None,
    name: o.NameOption = None,
    dry_run: o.DryRunOption = False,
    json: o.JsonOption = False,
) -> None:
    """Make a student from some of a teacher's layers.

    `encoder` and `decoder` are numbers of layers, evenly spaced, or lists of layer numbers.
    """
    shared = o.common(config, sets, store, name, dry_run, json)
    _run("shrink", shared, {"teacher": teacher})


def train(
    student: o.StudentOption = None,
    corpus: o.CorpusOption = None,
    config: o.ConfigOption = None,
    sets: o.SetOption = None,
    store: o.StoreOption = None,
    name: o.NameOption = None,
    track: o.TrackOption = None,
    dry_run: o.DryRunOption = False,
    json: o.JsonOption = False,
) -> None:
    """Train a model on references.

    Watches the dev split, keeps the best weights, and resumes where it was killed.
    """
    shared = o.common(config, sets, store, name, dry_run, json)
    _run("train", shared, {"student": student, "corpus": corpus}, trackers=tuple(track or ()))


def cache_teacher(
    teacher: o.TeacherOption = None,
    corpus: o.CorpusOption = None,
    pseudo_targets: o.PseudoTargetsOption = None,
    config: o.ConfigOption = None,
    sets: o.SetOption = None,
    store: o.StoreOption = None,
    name: o.NameOption = None,
    dry_run: o.DryRunOption = False,
    json: o.JsonOption = False,
) -> None:
    """Write what the teacher says about a split to disk.

    Five statistics and the largest logits of every token, on references or on pseudo-targets.
    """
    shared = o.common(config, sets, store, name, dry_run, json)
    roles = {"teacher": teacher, "corpus": corpus, "pseudo-targets": pseudo_targets}
    flags: Table = {} if pseudo_targets is None else {"completions": "pseudo-targets"}
    _run("cache-teacher", shared, roles, flags=_layer("--pseudo-targets", flags))


def distill(
    student: o.DistillStudentOption = None,
    teacher: o.TeacherOption = None,
    cache: o.CacheOption = None,
    pseudo_targets: o.PseudoTargetsOption = None,
    corpus: o.CorpusOption = None,
    extra_corpus: o.ExtraCorpusOption = None,
    rollouts: o.RolloutsOption = None,
    decisions: o.DecisionsOption = None,
    objective: o.ObjectiveOption = None,
    k: o.KOption = None,
    preset: o.PresetOption = None,
    config: o.ConfigOption = None,
    sets: o.SetOption = None,
    store: o.StoreOption = None,
    name: o.NameOption = None,
    track: o.TrackOption = None,
    dry_run: o.DryRunOption = False,
    json: o.JsonOption = False,
) -> None:
    """Train a student with any objective or mix.

    --k alone means KETCHUP. --set objective.FIELD=VALUE changes the first term of the loss.
    --objective circuits makes --decisions, a teacher's, into gates; its settings are those of the
    table `circuits`.
    """
    shared = o.common(config, sets, store, name, dry_run, json)
    roles = {
        "student": student,
        "teacher": teacher,
        "cache": cache,
        "pseudo-targets": pseudo_targets,
        "corpus": corpus,
        "extra-corpus": extra_corpus,
        "rollouts": rollouts,
    }
    if decisions is not None or objective == "circuits":
        from ketchup_cli.cli.circuits import distill_decisions

        others = {**roles, "k": k, "preset": preset, "track": track}
        return distill_decisions(decisions, shared, objective=objective, others=others)
    if k is not None and objective is not None:
        check_k(objective)
    named = "ketchup" if objective is None and k is not None else objective
    flags = (
        *_layer("--objective" if objective else "--k", _objective(named)),
        *_layer("--k", {"objective": {"k": k}} if k is not None else {}),
        *_layer(
            TEXT_FLAG,
            {"objective": {"prefixes": "teacher"}} if pseudo_targets is not None else {},
        ),
    )
    return _run("distill", shared, roles, flags=flags, preset=preset, trackers=tuple(track or ()))


def lab(
    student: o.StudentOption = None,
    teacher: o.TeacherOption = None,
    corpus: o.CorpusOption = None,
    config: o.ConfigOption = None,
    sets: o.SetOption = None,
    store: o.StoreOption = None,
    name: o.NameOption = None,
    dry_run: o.DryRunOption = False,
    json: o.JsonOption = False,
) -> None:
    """Compare estimators of the policy gradient.

    Spread, direction, bias and time of each on one set of the student's samples, as a table and a
    plot.
    """
    shared = o.common(config, sets, store, name, dry_run, json)
    _run("lab", shared, {"student": student, "teacher": teacher, "corpus": corpus})


def angles(
    student: o.StudentOption = None,
    teacher: o.TeacherOption = None,
    corpus: o.CorpusOption = None,
    config: o.ConfigOption = None,
    sets: o.SetOption = None,
    store: o.StoreOption = None,
    name: o.NameOption = None,
    dry_run: o.DryRunOption = False,
    json: o.JsonOption = False,
) -> None:
    """See how a teacher's layers lie around a student's.

    Mostly acute angles mean that it matters little which layer `layer_match` pulls to.
    """
    shared = o.common(config, sets, store, name, dry_run, json)
    _run("angles", shared, {"student": student, "teacher": teacher, "corpus": corpus})


def generate(
    model: o.ModelOption = None,
    corpus: o.CorpusOption = None,
    split: o.SplitOption = None,
    config: o.ConfigOption = None,
    sets: o.SetOption = None,
    store: o.StoreOption = None,
    name: o.NameOption = None,
    dry_run: o.DryRunOption = False,
    json: o.JsonOption = False,
) -> None:
    """Write a model's text for a split."""
    shared = o.common(config, sets, store, name, dry_run, json)
    flags = _layer("--split", {"split": split} if split is not None else {})
    _run("generate", shared, {"model": model, "corpus": corpus}, flags=flags)


def score(
    generations: o.GenerationsOption = None,
    corpus: o.CorpusOption = None,
    encoder: o.EncoderOption = None,
    base: o.BaseOption = None,
    comet: o.CometOption = None,
    calibration: o.CalibrationOption = False,
    model: o.ScoredModelOption = None,
    teacher: o.TeacherOption = None,
    cache: o.CacheOption = None,
    config: o.ConfigOption = None,
    sets: o.SetOption = None,
    store: o.StoreOption = None,
    name: o.NameOption = None,
    dry_run: o.DryRunOption = False,
    json: o.JsonOption = False,
) -> None:
    """Score generated text against references.

    With --calibration, measure --model on the references themselves, token by token: likelihood,
    calibration, agreement with a teacher. Its settings are those of the table `calibration`.
    """
    shared = o.common(config, sets, store, name, dry_run, json)
    of_text = {"generations": generations, "encoder": encoder, "comet": comet, "base": base}
    of_model = {"model": model, "teacher": teacher, "cache": cache}
    _refuse_roles(of_text if calibration else of_model, calibration=calibration)
    stage, own = ("calibration", of_model) if calibration else ("score", of_text)
    _run(stage, shared, {**own, "corpus": corpus})


def _refuse_roles(roles: Mapping[str, str | None], *, calibration: bool) -> None:
    """Refuse inputs that only the other way of scoring reads."""
    for role, text in roles.items():
        if text is not None:
            own = f"--{role} {text}"
            only, flags = ("without", "--model NAME") if calibration else ("with", own)
            told = f"`{own}` is read only {only} --calibration"
            raise SpecError(told, hint=f"ketchup score --calibration {flags}")


def _objective(name: str | None) -> Table:
    return {} if name is None else {"objective": {"name": name}}


def _layer(origin: str, table: Table) -> tuple[Layer, ...]:
    return (Layer(origin=origin, table=table),) if table else ()


def _run(
    stage: str,
    shared: Common,
    roles: Mapping[str, str | None],
    *,
    flags: tuple[Layer, ...] = (),
    files: tuple[tuple[str, Path], ...] = (),
    preset: str | None = None,
    trackers: tuple[str, ...] = (),
) -> None:
    from ketchup_cli.cli.execute import execute

    execute(
        Request(
            stage=stage,
            common=shared,
            roles=roles,
            files=files,
            flags=flags,
            preset=preset,
            trackers=trackers,
            next=AFTER[stage],
        )
    )
