"""The options commands share, one definition each; inputs first, then method, then output."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ketchup_cli.cli.request import Common

Commands = Sequence[tuple[str, Callable[..., Any], str]]
"""Name, function and an example that runs as printed."""

_MODEL = "artifact, local folder, or hub id org/name@revision"

TeacherOption = Annotated[
    str | None, typer.Option("--teacher", metavar="NAME", help=f"Teacher: {_MODEL}.")
]
StudentOption = Annotated[
    str | None, typer.Option("--student", metavar="NAME", help=f"Student: {_MODEL}.")
]
DistillStudentOption = Annotated[
    str | None,
    typer.Option("--student", "--from", metavar="NAME", help=f"Student to start from: {_MODEL}."),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help=f"Who writes: {_MODEL}.")
]
ScoredModelOption = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help=f"Who is measured: {_MODEL}.")
]
CalibrationOption = Annotated[
    bool,
    typer.Option("--calibration", help="Measure a model on references in place of its text."),
]
CorpusOption = Annotated[
    str | None, typer.Option("--corpus", metavar="NAME", help="Corpus: artifact or folder.")
]
BackwardTeacherOption = Annotated[
    str | None,
    typer.Option(
        "--backward-teacher", metavar="NAME", help="Teacher that turns references into prompts."
    ),
]
DirectionOption = Annotated[
    str | None,
    typer.Option("--direction", metavar="WAY", help="forward, reverse or bidirectional."),
]
ExtraCorpusOption = Annotated[
    str | None,
    typer.Option("--extra-corpus", metavar="NAME", help="Second corpus, for terms on `extra`."),
]
DecisionsOption = Annotated[
    Path | None,
    typer.Option("--decisions", metavar="FILE", help="Rows of numbers, for `circuits` alone."),
]
RolloutsOption = Annotated[
    str | None,
    typer.Option("--rollouts", metavar="NAME", help="Stored samples, for terms on `rehearsal`."),
]
CacheOption = Annotated[
    str | None, typer.Option("--cache", metavar="NAME", help="Teacher cache: artifact or folder.")
]
PseudoTargetsOption = Annotated[
    str | None,
    typer.Option("--pseudo-targets", metavar="NAME", help="Learn from this teacher text."),
]
MeasuredTextOption = Annotated[
    str | None,
    typer.Option("--pseudo-targets", metavar="NAME", help="Teacher text to measure."),
]
GenerationsOption = Annotated[
    str | None,
    typer.Option("--generations", metavar="NAME", help="Text to score: artifact or folder."),
]
EncoderOption = Annotated[
    str | None,
    typer.Option("--encoder", metavar="NAME", help="Model of bertscore: local folder or artifact."),
]
BaseOption = Annotated[
    str | None,
    typer.Option("--base", metavar="NAME", help="Text before: tell what is kept and what is new."),
]
CometOption = Annotated[
    str | None,
    typer.Option("--comet", metavar="FOLDER", help="Checkpoint of comet, in safetensors."),
]
SplitOption = Annotated[
    str | None, typer.Option("--split", metavar="NAME", help="Split whose prompts are answered.")
]
CalculatorOption = Annotated[
    bool, typer.Option("--calculator", help="Complete `<<95*7=` with `665>>`.")
]
SystemsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="SYSTEM...",
        help="A model, its generations or scores; or CALLED=RUN,RUN,... for several seeds of one.",
    ),
]
JudgedSystemsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SYSTEM...]",
        help="Models or their generations; else [judge] systems in ketchup.toml.",
    ),
]
ComparedSplitOption = Annotated[
    str | None, typer.Option("--split", metavar="NAME", help="Split whose texts are compared.")
]
SeedsOption = Annotated[
    int | None,
    typer.Option("--seeds", metavar="N", min=1, help="NAME stands for NAME-s0 to NAME-s{N-1}."),
]
MinDeltaOption = Annotated[
    float | None,
    typer.Option(
        "--min-delta",
        metavar="D",
        help="Exit 3 unless each is surely D better than the first (whole interval, first metric).",
    ),
]
FailIfWorseOption = Annotated[
    bool,
    typer.Option("--fail-if-worse", help="Exit 3 if one is shown to be worse than the first."),
]
FileOption = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Rows of this split; a Moses pair is two files, A,B."),
]
EntitiesOption = Annotated[
    Path | None,
    typer.Option("--entities", metavar="FILE", help="Names that stay whole, one a line."),
]
MoreSplitsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--split", metavar="NAME=FILE", help="Rows of one more split; may be given often."
    ),
]
DatasetOption = Annotated[
    str | None,
    typer.Option("--dataset", metavar="NAME", help="A `datasets` name, in place of files."),
]
PromptFieldOption = Annotated[
    str | None,
    typer.Option("--prompt-field", metavar="FIELD", help="Field that holds the prompt."),
]
ReferenceFieldOption = Annotated[
    list[str] | None,
    typer.Option(
        "--reference-field", metavar="FIELD", help="Field of the references; may be given often."
    ),
]
DocumentFieldOption = Annotated[
    str | None,
    typer.Option(
        "--document-field", metavar="FIELD", help="Field that names what a row was taken from."
    ),
]
ObjectiveOption = Annotated[
    str | None,
    typer.Option("--objective", metavar="NAME", help="See `ketchup objectives`."),
]
KOption = Annotated[
    int | None, typer.Option("--k", metavar="N", help="The K of KETCHUP: steps per return.")
]
TrackOption = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        metavar="NAME",
        help="Tell tensorboard, wandb, mlflow or trackio the figures; may be given often.",
    ),
]
PresetOption = Annotated[
    str | None,
    typer.Option("--preset", metavar="NAME", help="Settings of the objective: default, paper, …"),
]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="NAME",
        help="Opponent of every system: another, `teacher` for its text, or `reference`.",
    ),
]
AspectsOption = Annotated[
    str | None,
    typer.Option("--aspects", metavar="A,B,C", help="What is judged, one question each."),
]
AspectModeOption = Annotated[
    str | None,
    typer.Option(
        "--aspect-mode", metavar="NAME", help="separate, or joint: all aspects in one question."
    ),
]
AspectsFileOption = Annotated[
    Path | None,
    typer.Option("--aspects-file", metavar="FILE", help="A task of your own: line, [aspects]."),
]
JudgeModeOption = Annotated[
    str | None,
    typer.Option("--mode", metavar="NAME", help="pairwise, or rating: each text alone, 1 to 5."),
]
JudgesOption = Annotated[
    list[str] | None,
    typer.Option("--judge", metavar="MODEL@URL", help="One of several judges; may be given often."),
]
JudgeProtocolOption = Annotated[
    str | None,
    typer.Option("--protocol", metavar="NAME", help="Form of an answer; logprob reads one token."),
]
BaseUrlOption = Annotated[
    str | None, typer.Option("--base-url", metavar="URL", help="Server; usually ends in /v1.")
]
JudgeModelOption = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="The judge, as its server calls it.")
]
HumanOption = Annotated[
    Path | None,
    typer.Option("--human", metavar="FILE", help="People's verdicts on some items, as JSON Lines."),
]
RepeatsOption = Annotated[
    int | None,
    typer.Option("--repeats", metavar="N", min=1, help="Times each question is asked."),
]
PriceInOption = Annotated[
    list[str] | None,
    typer.Option(
        "--price-in",
        metavar="[MODEL=]N",
        help="Price of a million prompt tokens, of all judges or of one.",
    ),
]
PriceCachedOption = Annotated[
    list[str] | None,
    typer.Option("--price-cached", metavar="[MODEL=]N", help="The same of those seen before."),
]
PriceOutOption = Annotated[
    list[str] | None,
    typer.Option("--price-out", metavar="[MODEL=]N", help="The same of tokens of answers."),
]
BudgetOption = Annotated[
    float | None,
    typer.Option("--budget", metavar="N", min=0, help="Most that may be spent; never exceeded."),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option("--api-key-file", metavar="FILE", help="Key; else KETCHUP_API_KEY is read."),
]
CacheOnlyOption = Annotated[
    bool, typer.Option("--cache-only", help="Ask nobody: answer from what is kept.")
]
RefreshOption = Annotated[bool, typer.Option("--refresh", help="Ask again what is kept.")]
YesOption = Annotated[
    bool, typer.Option("--yes", help="Send the texts to another machine without asking.")
]

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Read this in place of ./ketchup.toml."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Change one setting; may be given often."),
]
StoreOption = Annotated[
    Path | None, typer.Option("--store", metavar="DIR", help="Where artifacts lie.")
]
NameOption = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name the result.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the plan and touch nothing.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document in place of the id.")
]
InspectJsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def common(
    config: ConfigOption = None,
    sets: SetOption = None,
    store: StoreOption = None,
    name: NameOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> Common:
    """Return the shared options as one value; these are the options of every stage's command."""
    return Common(
        config=config, sets=tuple(sets or ()), store=store, name=name, dry_run=dry_run, json=json
    )
