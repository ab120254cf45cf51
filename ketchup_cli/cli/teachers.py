"""Commands of teachers: one lets them write, one makes a teacher of what learnt beside a student."""

from collections.abc import Mapping

from ketchup_cli.cli import options as o
from ketchup_cli.cli.following import AFTER
from ketchup_cli.cli.request import Request
from ketchup_cli.cli.settings import Layer

EXAMPLES: Mapping[str, str] = {
    "seqkd": "ketchup seqkd",
    "merge-teacher": "ketchup merge-teacher --student okd-student --name taught",
}
"""Lines that run as printed: `seqkd` in examples/en-nl, once its pipeline has; `merge-teacher` where
`ketchup distill --objective okd --name okd-student` has run."""


def seqkd(
    teacher: o.TeacherOption = None,
    backward_teacher: o.BackwardTeacherOption = None,
    direction: o.DirectionOption = None,
    corpus: o.CorpusOption = None,
    config: o.ConfigOption = None,
    sets: o.SetOption = None,
    store: o.StoreOption = None,
    name: o.NameOption = None,
    dry_run: o.DryRunOption = False,
    json: o.JsonOption = False,
) -> None:
    """Let the teacher write pseudo-targets for a split.

    With --direction reverse a backward teacher, trained on references as prompts, writes prompts for
    references instead; with bidirectional both are written.
    """
    from ketchup_cli.cli.execute import execute

    flags = (
        () if direction is None else (Layer(origin="--direction", table={"direction": direction}),)
    )
    execute(
        Request(
            stage="seqkd",
            common=o.common(config, sets, store, name, dry_run, json),
            roles={"teacher": teacher, "backward-teacher": backward_teacher, "corpus": corpus},
            flags=flags,
            next=AFTER["seqkd"],
        )
    )


def merge_teacher(
    student: o.StudentOption = None,
    teacher: o.TeacherOption = None,
    config: o.ConfigOption = None,
    sets: o.SetOption = None,
    store: o.StoreOption = None,
    name: o.NameOption = None,
    dry_run: o.DryRunOption = False,
    json: o.JsonOption = False,
) -> None:
    """Make a model of a teacher that learnt beside a student.

    What `okd` or `bd_kd` taught it is merged into its weights, so that it can be used again.
    """
    from ketchup_cli.cli.execute import execute

    execute(
        Request(
            stage="merge-teacher",
            common=o.common(config, sets, store, name, dry_run, json),
            roles={"student": student, "teacher": teacher},
            next=AFTER["merge-teacher"],
        )
    )
