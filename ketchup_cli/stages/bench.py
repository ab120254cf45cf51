"""What the checks are made of: models, rows, a cache; each read once, when the first check asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, final

from ketchup_cli import corpora
from ketchup_cli.doctor.origins import manifest_of
from ketchup_cli.doctor.scoring import FEW, SHORT, batch_of, spread
from ketchup_cli.errors import KetchupError
from ketchup_cli.models.encode import Limits
from ketchup_cli.models.load import load_policy, load_speech, quiet
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.sources import of_examples, pseudo_target_rows, reference_rows
from ketchup_cli.specs import CacheTeacherSpec, DistillSpec, JudgeSpec
from ketchup_cli.stages import training
from ketchup_cli.stages.teaching import open_cache
from ketchup_cli.store.find import Input

if TYPE_CHECKING:
    from ketchup_cli.models.cached_teacher import CachedTeacher
    from ketchup_cli.models.encode import Row
    from ketchup_cli.models.speech import Speech
    from ketchup_cli.records import Example, Generation
    from ketchup_cli.signals import Batch

Asked = Literal["float32", "bfloat16", "float16"]


class Unavailable(Exception):
    """Raised where a check lacks something that another line of the report speaks of."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is examined: the settings of a run, its inputs, and where it would write."""

    spec: DistillSpec
    inputs: Mapping[str, Input]
    absent: Mapping[str, str]
    """Role to the reason why there is none."""
    store: Path
    cache_spec: CacheTeacherSpec | None = None
    """The settings of `cache-teacher`, where that is still to be run."""
    precision: Asked | None = None
    """Type both models are to run in, beside what the settings say."""
    judge: JudgeSpec | None = None
    """The settings of `judge`, where its servers are to be asked."""


@final
class Bench:
    """A case with everything that was read for it so far.

    Example: `Bench(case).teacher` loads the teacher once, or raises `Unavailable`.
    """

    def __init__(self, case: Case) -> None:
        quiet()
        self.case = case
        self._loaded: dict[str, Policy | KetchupError] = {}

    def input(self, role: str) -> Input:
        """Return an input.

        Raises:
            Unavailable: there is none.
        """
        if role not in self.case.inputs:
            raise Unavailable(self.case.absent.get(role, f"no {role} is named"))
        return self.case.inputs[role]

    def speech(self, role: str) -> Speech:
        """Return how a model speaks, without its weights."""
        return load_speech(self.input(role).path)

    def loaded(self, role: str) -> Policy | KetchupError:
        """Return a model, or why it cannot be loaded."""
        if role not in self._loaded:
            folder, spec = self.input(role).path, self.case.spec
            try:
                found = load_policy(folder, device=spec.device, precision=spec.precision)
                self._loaded[role] = found
            except KetchupError as error:
                self._loaded[role] = error
        return self._loaded[role]

    def policy(self, role: str) -> Policy:
        """Return a model.

        Raises:
            Unavailable: there is none, or it cannot be loaded.
        """
        found = self.loaded(role)
        if isinstance(found, KetchupError):
            raise Unavailable(f"the {role} cannot be loaded")
        return found

    @property
    def teacher(self) -> Policy:
        """The teacher."""
        return self.policy("teacher")

    @property
    def student(self) -> Policy:
        """The student."""
        return self.policy("student")

    def precisions(self, role: str) -> list[Asked]:
        """Return the types a model is to run in: by the settings, and by who asks."""
        asked: list[Asked | None] = [self.case.spec.precision, self.case.precision]
        if role == "student":
            asked.append(self.case.spec.save_dtype)
        return list(dict.fromkeys(item for item in asked if item is not None))

    @cached_property
    def split(self) -> list[Example]:
        """All examples of the split."""
        return corpora.read_split(self.input("corpus").path, self.case.spec.split)

    @property
    def examples(self) -> Sequence[Example]:
        """Those that are learned from."""
        return self.split[: self.case.spec.examples or None]

    def references(self, numbers: Sequence[int]) -> list[Row]:
        """Return examples of these numbers with their references, as the teacher reads them."""
        some = [self.examples[number] for number in numbers]
        rows = reference_rows(self.teacher, some, self._lenient).rows
        return [replace(row, position=numbers[row.position]) for row in rows]

    def pseudo_targets(self, numbers: Sequence[int]) -> list[Row]:
        """Return the lines of these numbers with their prompts, as the teacher reads them."""
        some = [self.generations[number] for number in numbers]
        rows = pseudo_target_rows(self.teacher, self.split, some, self._lenient).rows
        return [replace(row, position=numbers[row.position]) for row in rows]

    @property
    def _lenient(self) -> Limits:
        """The lengths of a run; longer rows are cut, for a check needs their beginning alone."""
        return replace(training.limits(self.case.spec), too_long="truncate")

    @cached_property
    def batch(self) -> Batch:
        """A few examples with their references, cut short."""
        few = [self.examples[number] for number in spread(len(self.examples), FEW)]
        return batch_of(self.teacher, reference_rows(self.teacher, few, SHORT).rows)

    @cached_property
    def generations(self) -> list[Generation]:
        """The pseudo-targets."""
        return corpora.read_pseudo_targets(self.input("pseudo-targets").path)

    @cached_property
    def cache_checked(self) -> tuple[CachedTeacher, Sequence[Row]]:
        """The cache with the rows a run would ask it about, once it is sure it was made of them.

        Raises:
            MismatchError: it was made of other rows, or with another tokenizer.
        """
        from ketchup_cli.models.cache import read_meta

        cache, reader = self.input("cache"), self._reader
        meta, limits = read_meta(cache.path), training.limits(self.case.spec)
        examples: Sequence[Example] = self.examples
        if meta.split != self.case.spec.split:
            examples = corpora.read_split(self.input("corpus").path, meta.split)
        if meta.completions == "references":
            rows = reference_rows(reader, examples, limits).rows
        else:
            lines = self.generations
            if self.case.spec.examples:
                lines = of_examples(lines, examples)
            rows = pseudo_target_rows(reader, examples, lines, limits).rows
        return open_cache(cache, rows, reader), rows

    @property
    def _reader(self) -> Policy:
        """The model whose tokenizer reads the rows: the student, as in a run, or the teacher."""
        return self.student if "student" in self.case.inputs else self.teacher

    @property
    def cache_maker(self) -> Policy:
        """The teacher in the precision the cache was made in."""
        manifest, teacher = manifest_of(self.input("cache").path), self.teacher
        wanted = teacher.precision if manifest is None else manifest.spec.get("precision")
        if wanted in {None, teacher.precision}:
            return teacher
        return Policy(teacher.model, teacher.tokenizer, precision=wanted, replaced=teacher.replaced)
