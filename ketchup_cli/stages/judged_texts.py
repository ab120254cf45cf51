"""The texts a judge is shown: every example that all systems have answered."""

from collections.abc import Mapping

from ketchup_cli import corpora
from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.judging.calls import Item
from ketchup_cli.scoring.items import join
from ketchup_cli.specs import JudgeSpec
from ketchup_cli.stages.comparison import ROLE
from ketchup_cli.store import manifest
from ketchup_cli.store.find import Input

GENERATIONS_FILE = "generations.jsonl"


def items_of(spec: JudgeSpec, inputs: Mapping[str, Input]) -> tuple[Item, ...]:
    """Return the examples every system has answered.

    Raises:
        SpecError: too few systems, or systems that are not those of the inputs.
        MismatchError: texts of another split, or of other examples.
    """
    least = 1 if spec.mode == "rating" else 2
    if len(spec.systems) < least:
        raise SpecError(
            f"{len(spec.systems)} systems are named, and a judgement takes {least} or more",
            hint="ketchup judge kl-student ketchup-student",
        )
    roles = [ROLE.format(system=number, run=1) for number in range(1, len(spec.systems) + 1)]
    if [role for role in roles if role not in inputs] or len(inputs) != len(roles) + 1:
        raise SpecError(
            f"the systems {', '.join(spec.systems)} are not those of the inputs: one run of each",
            hint="name one run of each system: ketchup judge kl-s0 k4-s0",
        )
    first = {_answered(spec, inputs[role]) for role in roles}
    if len(first) > 1:
        raise MismatchError(
            "the systems answered other numbers of examples",
            hint="generate the same examples with every system",
        )
    examples = corpora.read_split(inputs["corpus"].path, spec.split)[: first.pop() or None]
    texts = {
        name: join(
            examples, corpora.read_generations(inputs[role].path / GENERATIONS_FILE)
        ).hypotheses
        for name, role in zip(spec.systems, roles, strict=True)
    }
    return tuple(
        Item(
            id=example.id,
            source=example.prompt,
            reference=example.references[0] if example.references else "",
            texts={name: texts[name][index] for name in spec.systems},
        )
        for index, example in enumerate(examples)
    )


def _answered(spec: JudgeSpec, texts: Input) -> int:
    recipe = manifest.read(texts.path).spec
    if recipe.get("split") != spec.split:
        raise MismatchError(
            f"generations `{texts.label}` answer split `{recipe.get('split')}`, not `{spec.split}`",
            hint=f"--split {recipe.get('split')}",
        )
    return int(recipe.get("examples") or 0)
