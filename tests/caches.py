"""Teacher caches for tests, made by the stage itself in a store of their own."""

from pathlib import Path
from typing import Any

from ketchup_cli.corpora import read_split
from ketchup_cli.models.encode import Limits, Row
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.sources import reference_rows
from ketchup_cli.reporting import Reporter, SilentReporter
from ketchup_cli.spec import to_table
from ketchup_cli.specs import CacheTeacherSpec
from ketchup_cli.stages import cache_teacher
from ketchup_cli.store.artifact import Artifact, Input, folder_input
from ketchup_cli.store.build import begin
from ketchup_cli.store.layout import Store

LIMITS = Limits(prompt=512, completion=256)


def inputs_of(teacher: Path, corpus: Path, pseudo_targets: Path | None = None) -> dict[str, Input]:
    """Return plain folders as the stage's inputs."""
    inputs = {
        "teacher": folder_input(teacher, "teacher"),
        "corpus": folder_input(corpus, "corpus", kind="corpus"),
    }
    if pseudo_targets is not None:
        inputs["pseudo-targets"] = folder_input(
            pseudo_targets, "pseudo-targets", kind="pseudo-targets"
        )
    return inputs


def make_cache(
    root: Path,
    inputs: dict[str, Input],
    *,
    reporter: Reporter | None = None,
    **settings: Any,
) -> Artifact:
    """Run `cache-teacher` in the store at `root` and publish what it made."""
    spec = CacheTeacherSpec(**settings)
    with begin(
        Store.open(root),
        kind="teacher-cache",
        version=1,
        spec=to_table(spec),
        inputs=list(inputs.values()),
        label="cache-teacher",
    ) as build:
        summary = cache_teacher.run(spec, inputs, build, reporter or SilentReporter())
        return build.commit(
            summary=summary, signature=summary["signature"], environment={}, seconds=0.0
        )


def rows_of(policy: Policy, corpus: Path, split: str = "train") -> tuple[Row, ...]:
    """Return the rows training would make of a split's references."""
    return reference_rows(policy, read_split(corpus, split), LIMITS).rows
