"""One command per stage: its inputs by role, then the shared options."""

from collections.abc import Mapping
from pathlib import Path

from ketchup_cli.cli import options as o
from ketchup_cli.cli.commands import run_stage, stage_command
from ketchup_cli.cli.inputs import more_splits, split_files
from ketchup_cli.cli.request import Common
from ketchup_cli.cli.settings import TEXT_FLAG, calculator_flag, check_k, typed
from ketchup_cli.errors import SpecError
from ketchup_cli.spec import Table

EXAMPLES: Mapping[str, str] = {
    "corpus": "ketchup corpus --train data/train.jsonl.gz --dev data/dev.jsonl.gz",
    "reverse": "ketchup reverse --set match=compute --name both-ways",
    "reversal-probe": "ketchup reversal-probe --name probe",
    "new-model": "ketchup new-model --set layers=2 --set width=128 --name fresh",
    "shrink": "ketchup shrink --set encoder=2 --set decoder=1 --name smaller",
    "train": "ketchup train --set updates=100 --name trained",
    "cache-teacher": "ketchup cache-teacher",
    "seqkd": "ketchup seqkd",
    "distill": "ketchup distill --k 4",
    "merge-teacher": "ketchup merge-teacher --student okd-student --name taught",
    "lab": "ketchup lab --student kl-student --set batches=16",
    "angles": "ketchup angles --student kl-student",
    "generate": "ketchup generate --model kl-student --split test",
    "rollout": "ketchup rollout --model kl-student --set reward.shaped=bleu",
    "score": "ketchup score --generations kl-student-test",
    "rare-words": "ketchup rare-words --pseudo-targets en-nl-seqkd",
}
"""A line for each stage that runs as printed in examples/en-nl, once its pipeline has; that of
`merge-teacher` once `ketchup distill --objective okd --name okd-student` has run as well."""


@stage_command
def corpus(
    shared: Common,
    train: o.FileOption = None,
    dev: o.FileOption = None,
    test: o.FileOption = None,
    split: o.MoreSplitsOption = None,
    dataset: o.DatasetOption = None,
    prompt_field: o.PromptFieldOption = None,
    reference_field: o.ReferenceFieldOption = None,
    document_field: o.DocumentFieldOption = None,
) -> None:
    """Import text files into a corpus artifact.

    Reads JSON Lines, CSV, TSV, Parquet and Moses pairs, gzip too, or a `datasets` name.
    """
    first = (("train", train), ("dev", dev), ("test", test))
    named = [(of, text) for of, text in first if text is not None]
    files = [
        item for of, text in (*named, *more_splits(split or ())) for item in split_files(of, text)
    ]
    flags: Table = {"prompt_field": prompt_field, "document_field": document_field}
    if dataset is not None and Path(dataset).is_dir():
        files.append(("dataset", Path(dataset)))
    elif dataset is not None:
        from ketchup_cli.corpora import hub

        flags["dataset"] = hub.pinned(dataset)
    elif not files:
        raise SpecError("no file is named", hint=EXAMPLES["corpus"])
    if reference_field:
        flags["reference_field"] = (
            reference_field[0] if len(reference_field) == 1 else reference_field
        )
    run_stage("corpus", shared, {}, files=tuple(files), flags=typed("a flag", flags))


@stage_command
def reverse(
    shared: Common, corpus: o.CorpusOption = None, entities: o.EntitiesOption = None
) -> None:
    """Make a corpus whose texts run from last to first as well.

    For causal models: word by word, with entities left whole, in random segments, or token by
    token. No teacher is asked about such rows unless a setting says so.
    """
    files = (("entities", entities),) if entities is not None else ()
    run_stage("reverse", shared, {"corpus": corpus}, files=files)


@stage_command
def reversal_probe(shared: Common) -> None:
    """Make a task that asks for facts from both ends.

    Train on it as it is and turned around; `ketchup score --set 'metrics=["exact-folded"]'` on its
    test split tells forward and backward side by side.
    """
    run_stage("reversal-probe", shared, {})


@stage_command
def new_model(
    shared: Common,
    corpus: o.CorpusOption = None,
) -> None:
    """Make a tokenizer and a model with random weights.

    The tokenizer is learned from the corpus's train split.
    """
    run_stage("new-model", shared, {"corpus": corpus})


@stage_command
def shrink(
    shared: Common,
    teacher: o.TeacherOption = None,
) -> None:
    """Make a student from some of a teacher's layers.

    `encoder` and `decoder` are numbers of layers, evenly spaced, or lists of layer numbers.
    """
    run_stage("shrink", shared, {"teacher": teacher})


@stage_command
def train(
    shared: Common,
    student: o.StudentOption = None,
    corpus: o.CorpusOption = None,
    track: o.TrackOption = None,
) -> None:
    """Train a model on references.

    Watches the dev split, keeps the best weights, and resumes where it was killed.
    """
    run_stage("train", shared, {"student": student, "corpus": corpus}, trackers=tuple(track or ()))


@stage_command
def cache_teacher(
    shared: Common,
    teacher: o.TeacherOption = None,
    corpus: o.CorpusOption = None,
    pseudo_targets: o.PseudoTargetsOption = None,
) -> None:
    """Write what the teacher says about a split to disk.

    Five statistics and the largest logits of every token, on references or on pseudo-targets.
    """
    roles = {"teacher": teacher, "corpus": corpus, "pseudo-targets": pseudo_targets}
    completions = None if pseudo_targets is None else "pseudo-targets"
    run_stage("cache-teacher", shared, roles, flags=typed(TEXT_FLAG, {"completions": completions}))


@stage_command
def seqkd(
    shared: Common,
    teacher: o.TeacherOption = None,
    backward_teacher: o.BackwardTeacherOption = None,
    direction: o.DirectionOption = None,
    corpus: o.CorpusOption = None,
    calculator: o.CalculatorOption = False,
) -> None:
    """Let the teacher write pseudo-targets for a split.

    With --direction reverse a backward teacher, trained on references as prompts, writes prompts for
    references instead; with bidirectional both are written.
    """
    roles = {"teacher": teacher, "backward-teacher": backward_teacher, "corpus": corpus}
    flags = (
        *typed("--direction", {"direction": direction}),
        *calculator_flag("decoding", asked=calculator),
    )
    run_stage("seqkd", shared, roles, flags=flags)


@stage_command
def distill(
    shared: Common,
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
    calculator: o.CalculatorOption = False,
    track: o.TrackOption = None,
) -> None:
    """Train a student with any objective or mix.

    --k alone means KETCHUP. --set objective.FIELD=VALUE changes the first term of the loss.
    --objective circuits makes --decisions, a teacher's, into gates; its settings are those of the
    table `circuits`.
    """
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

        asked = calculator or None
        others = {**roles, "k": k, "preset": preset, "track": track, "calculator": asked}
        return distill_decisions(decisions, shared, objective=objective, others=others)
    if k is not None and objective is not None:
        check_k(objective)
    named = "ketchup" if objective is None and k is not None else objective
    flags = (
        *typed("--objective" if objective else "--k", _of_term("name", named)),
        *typed("--k", _of_term("k", k)),
        *typed(TEXT_FLAG, _of_term("prefixes", pseudo_targets and "teacher")),
        *calculator_flag("rollout", "validation", asked=calculator),
    )
    trackers = tuple(track or ())
    return run_stage("distill", shared, roles, flags=flags, preset=preset, trackers=trackers)


@stage_command
def merge_teacher(
    shared: Common, student: o.StudentOption = None, teacher: o.TeacherOption = None
) -> None:
    """Make a model of a teacher that learnt beside a student.

    What `okd` or `bd_kd` taught it is merged into its weights, so that it can be used again.
    """
    run_stage("merge-teacher", shared, {"student": student, "teacher": teacher})


@stage_command
def lab(
    shared: Common,
    student: o.StudentOption = None,
    teacher: o.TeacherOption = None,
    corpus: o.CorpusOption = None,
) -> None:
    """Compare estimators of the policy gradient.

    Spread, direction, bias and time of each on one set of the student's samples, as a table and a
    plot.
    """
    run_stage("lab", shared, {"student": student, "teacher": teacher, "corpus": corpus})


@stage_command
def angles(
    shared: Common,
    student: o.StudentOption = None,
    teacher: o.TeacherOption = None,
    corpus: o.CorpusOption = None,
) -> None:
    """See how a teacher's layers lie around a student's.

    Mostly acute angles mean that it matters little which layer `layer_match` pulls to.
    """
    run_stage("angles", shared, {"student": student, "teacher": teacher, "corpus": corpus})


@stage_command
def generate(
    shared: Common,
    model: o.ModelOption = None,
    corpus: o.CorpusOption = None,
    split: o.SplitOption = None,
    calculator: o.CalculatorOption = False,
) -> None:
    """Write a model's text for a split."""
    flags = (*typed("--split", {"split": split}), *calculator_flag("decoding", asked=calculator))
    run_stage("generate", shared, {"model": model, "corpus": corpus}, flags=flags)


@stage_command
def rollout(
    shared: Common,
    model: o.ModelOption = None,
    corpus: o.CorpusOption = None,
    split: o.SplitOption = None,
    calculator: o.CalculatorOption = False,
) -> None:
    """Draw a model's completions, and reward them.

    Every token is kept with the log-probability it was drawn with. --set reward.correct=NAME says
    what is right, --set reward.shaped=NAME what is earned.
    """
    flags = (*typed("--split", {"split": split}), *calculator_flag("decoding", asked=calculator))
    run_stage("rollout", shared, {"model": model, "corpus": corpus}, flags=flags)


@stage_command
def score(
    shared: Common,
    generations: o.GenerationsOption = None,
    corpus: o.CorpusOption = None,
    encoder: o.EncoderOption = None,
    base: o.BaseOption = None,
    comet: o.CometOption = None,
    calibration: o.CalibrationOption = False,
    model: o.ScoredModelOption = None,
    teacher: o.TeacherOption = None,
    cache: o.CacheOption = None,
) -> None:
    """Score generated text against references.

    With --calibration, measure --model on the references themselves, token by token: likelihood,
    calibration, agreement with a teacher. Its settings are those of the table `calibration`.
    """
    of_text = {"generations": generations, "encoder": encoder, "comet": comet, "base": base}
    of_model = {"model": model, "teacher": teacher, "cache": cache}
    _refuse_roles(of_text if calibration else of_model, calibration=calibration)
    stage, own = ("calibration", of_model) if calibration else ("score", of_text)
    run_stage(stage, shared, {**own, "corpus": corpus})


@stage_command
def rare_words(
    shared: Common,
    pseudo_targets: o.MeasuredTextOption = None,
    corpus: o.CorpusOption = None,
) -> None:
    """Show what pseudo-targets keep of rare words.

    Beside the references of the same examples: the share of rare words, which of them are left, and
    in how many ways a rare word is put. Text of both directions is told one by one and together.
    """
    run_stage("rare-words", shared, {"pseudo-targets": pseudo_targets, "corpus": corpus})


def _refuse_roles(roles: Mapping[str, str | None], *, calibration: bool) -> None:
    """Refuse inputs that only the other way of scoring reads."""
    for role, text in roles.items():
        if text is not None:
            own = f"--{role} {text}"
            only, flags = ("without", "--model NAME") if calibration else ("with", own)
            told = f"`{own}` is read only {only} --calibration"
            raise SpecError(told, hint=f"ketchup score --calibration {flags}")


def _of_term(field: str, value: str | int | None) -> Table:
    """Return a field of the first term of a loss, or nothing where it was not typed."""
    return {} if value is None else {"objective": {field: value}}
