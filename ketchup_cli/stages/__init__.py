"""The table of stages: what each makes, from which inputs, in which module.

A stage module has two functions and knows nothing of the command line:

    plan(spec, inputs) -> tuple[tuple[str, str], ...]     lines of the plan, cheap, touches nothing
    run(spec, inputs, build, reporter) -> dict[str, Any]  writes files into `build`, returns the summary
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from ketchup_cli import specs
from ketchup_cli.spec import Spec


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """An input a stage finds by name: `kind` is the artifact kind it must be of."""

    name: str
    kind: str
    needed: Callable[[Any], bool] = lambda _spec: True
    """Whether this spec cannot do without it."""
    used: Callable[[Any], bool] = lambda _spec: True
    """Whether this spec looks at it at all."""
    local: bool = False
    """Whether only this machine is looked at, never a hub."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One row of the table."""

    name: str
    module: str
    kind: str
    spec: type[Spec]
    version: int = 1
    """Raised by hand when the stage's meaning changes; part of every id."""
    roles: tuple[Role, ...] = ()
    output_role: str = ""
    """The role in `ketchup.toml` whose name the result gets when no --name is given."""


def _never(_spec: Any) -> bool:
    return False


def _objective_terms(spec: specs.DistillSpec) -> Any:
    from ketchup_cli import objectives

    return objectives.terms(spec.objective)


def _distill_needs_teacher(spec: specs.DistillSpec) -> bool:
    return spec.teacher != "cache" and any(
        term.needs.any_teacher and (term.new_text or spec.teacher == "live")
        for term in _objective_terms(spec)
    )


def _distill_uses_teacher(spec: specs.DistillSpec) -> bool:
    return spec.teacher != "cache" and any(
        term.needs.any_teacher for term in _objective_terms(spec)
    )


def _distill_uses_cache(spec: specs.DistillSpec) -> bool:
    return spec.teacher != "live" and any(
        term.needs.any_teacher and not term.new_text for term in _objective_terms(spec)
    )


def _distill_uses_pseudo_targets(spec: specs.DistillSpec) -> bool:
    return any(term.teacher_text for term in _objective_terms(spec))


def _distill_uses_extra(spec: specs.DistillSpec) -> bool:
    return any(term.prefixes == "extra" for term in _objective_terms(spec))


def _distill_uses_rollouts(spec: specs.DistillSpec) -> bool:
    return any(term.prefixes == "rehearsal" for term in _objective_terms(spec))


def _scores_with(name: str, *, metric: str) -> Role:
    """Return the role of a model that one metric of `score` needs."""

    def asked(spec: specs.ScoreSpec) -> bool:
        return metric in spec.metrics

    return Role(name=name, kind="model", needed=asked, used=asked, local=True)


_CORPUS = Role(name="corpus", kind="corpus")
_PSEUDO_TARGETS = Role(
    name="pseudo-targets",
    kind="pseudo-targets",
    needed=lambda spec: spec.completions == "pseudo-targets",
    used=lambda spec: spec.completions == "pseudo-targets",
)

STAGES: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            name="corpus",
            module="ketchup_cli.stages.corpus",
            kind="corpus",
            spec=specs.CorpusSpec,
            output_role="corpus",
        ),
        Stage(
            name="reverse",
            module="ketchup_cli.stages.reverse",
            kind="corpus",
            spec=specs.ReverseSpec,
            roles=(_CORPUS,),
        ),
        Stage(
            name="reversal-probe",
            module="ketchup_cli.stages.reversal_probe",
            kind="corpus",
            spec=specs.ReversalProbeSpec,
        ),
        Stage(
            name="new-model",
            module="ketchup_cli.stages.new_model",
            kind="model",
            spec=specs.NewModelSpec,
            roles=(_CORPUS,),
        ),
        Stage(
            name="shrink",
            module="ketchup_cli.stages.shrink",
            kind="model",
            spec=specs.ShrinkSpec,
            roles=(Role(name="teacher", kind="model"),),
            output_role="student",
        ),
        Stage(
            name="train",
            module="ketchup_cli.stages.train",
            kind="model",
            spec=specs.TrainSpec,
            roles=(Role(name="student", kind="model"), _CORPUS),
        ),
        Stage(
            name="cache-teacher",
            module="ketchup_cli.stages.cache_teacher",
            kind="teacher-cache",
            spec=specs.CacheTeacherSpec,
            roles=(Role(name="teacher", kind="model"), _CORPUS, _PSEUDO_TARGETS),
            output_role="cache",
        ),
        Stage(
            name="import-cache",
            module="ketchup_cli.stages.import_cache",
            kind="teacher-cache",
            spec=specs.ImportCacheSpec,
            roles=(_CORPUS, Role(name="student", kind="model")),
        ),
        Stage(
            name="seqkd",
            module="ketchup_cli.stages.seqkd",
            kind="pseudo-targets",
            spec=specs.SeqkdSpec,
            roles=(
                Role(
                    name="teacher",
                    kind="model",
                    needed=lambda spec: spec.direction != "reverse",
                    used=lambda spec: spec.direction != "reverse",
                ),
                Role(
                    name="backward-teacher",
                    kind="model",
                    needed=lambda spec: spec.direction != "forward",
                    used=lambda spec: spec.direction != "forward",
                ),
                _CORPUS,
            ),
            output_role="pseudo-targets",
        ),
        Stage(
            name="distill",
            module="ketchup_cli.stages.distill",
            kind="model",
            spec=specs.DistillSpec,
            roles=(
                Role(name="student", kind="model"),
                _CORPUS,
                Role(
                    name="teacher",
                    kind="model",
                    needed=_distill_needs_teacher,
                    used=_distill_uses_teacher,
                ),
                Role(name="cache", kind="teacher-cache", needed=_never, used=_distill_uses_cache),
                Role(
                    name="pseudo-targets",
                    kind="pseudo-targets",
                    needed=_distill_uses_pseudo_targets,
                    used=_distill_uses_pseudo_targets,
                ),
                Role(
                    name="extra-corpus",
                    kind="corpus",
                    needed=_distill_uses_extra,
                    used=_distill_uses_extra,
                ),
                Role(
                    name="rollouts",
                    kind="rollouts",
                    needed=_distill_uses_rollouts,
                    used=_distill_uses_rollouts,
                ),
            ),
        ),
        Stage(
            name="circuits",
            module="ketchup_cli.stages.circuits",
            kind="circuit",
            spec=specs.CircuitsSpec,
        ),
        Stage(
            name="merge-teacher",
            module="ketchup_cli.stages.merge_teacher",
            kind="model",
            spec=specs.MergeTeacherSpec,
            roles=(Role(name="student", kind="model"), Role(name="teacher", kind="model")),
        ),
        Stage(
            name="lab",
            module="ketchup_cli.stages.lab",
            kind="lab",
            spec=specs.LabSpec,
            roles=(
                Role(name="student", kind="model"),
                Role(name="teacher", kind="model"),
                _CORPUS,
            ),
        ),
        Stage(
            name="angles",
            module="ketchup_cli.stages.angles",
            kind="angles",
            spec=specs.AnglesSpec,
            roles=(
                Role(name="student", kind="model"),
                Role(name="teacher", kind="model"),
                _CORPUS,
            ),
        ),
        Stage(
            name="generate",
            module="ketchup_cli.stages.generate",
            kind="generations",
            spec=specs.GenerateSpec,
            roles=(Role(name="model", kind="model"), _CORPUS),
            output_role="generations",
        ),
        Stage(
            name="rollout",
            module="ketchup_cli.stages.rollout",
            kind="rollouts",
            spec=specs.RolloutsSpec,
            roles=(Role(name="model", kind="model"), _CORPUS),
            output_role="rollouts",
        ),
        Stage(
            name="score",
            module="ketchup_cli.stages.score",
            kind="scores",
            spec=specs.ScoreSpec,
            roles=(
                Role(name="generations", kind="generations"),
                _CORPUS,
                Role(name="base", kind="generations", needed=_never),
                _scores_with("encoder", metric="bertscore"),
                _scores_with("comet", metric="comet"),
            ),
            output_role="scores",
        ),
        Stage(
            name="calibration",
            module="ketchup_cli.stages.calibration",
            kind="scores",
            spec=specs.CalibrationSpec,
            roles=(
                Role(name="model", kind="model"),
                _CORPUS,
                Role(
                    name="teacher",
                    kind="model",
                    needed=lambda spec: spec.teacher == "live",
                    used=lambda spec: spec.teacher in {"auto", "live"},
                ),
                Role(
                    name="cache",
                    kind="teacher-cache",
                    needed=lambda spec: spec.teacher == "cache",
                    used=lambda spec: spec.teacher in {"auto", "cache"},
                ),
            ),
        ),
        Stage(
            name="rare-words",
            module="ketchup_cli.stages.rare_words",
            kind="scores",
            spec=specs.RareWordsSpec,
            roles=(Role(name="pseudo-targets", kind="pseudo-targets"), _CORPUS),
        ),
        Stage(
            name="compare",
            module="ketchup_cli.stages.compare",
            kind="comparison",
            spec=specs.CompareSpec,
            roles=(_CORPUS,),
            output_role="comparison",
        ),
        Stage(
            name="judge",
            module="ketchup_cli.stages.judge",
            kind="verdicts",
            spec=specs.JudgeSpec,
            roles=(_CORPUS,),
            output_role="verdicts",
            version=2,
        ),
    )
}
