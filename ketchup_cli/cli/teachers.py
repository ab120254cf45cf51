"""The command that makes a teacher of what learnt beside a student."""

from collections.abc import Mapping

from ketchup_cli.cli import options as o
from ketchup_cli.cli.following import AFTER
from ketchup_cli.cli.request import Request

EXAMPLES: Mapping[str, str] = {
    "merge-teacher": "ketchup merge-teacher --student okd-student --name taught",
}
"""A line that runs as printed where `ketchup distill --objective okd --name okd-student` has run."""


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
