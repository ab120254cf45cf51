"""The texts a judge is shown: every example that all systems have answered."""

from collections.abc import Mapping

from ketchup_cli import corpora
from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.judging.calls import REFERENCE, Item
from ketchup_cli.records import Example
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
    named = _with_opponent(spec)
    written = [name for name in named if name != spec.against or name != REFERENCE]
    roles = {name: ROLE.format(system=place, run=1) for place, name in enumerate(written, 1)}
    if not set(roles.values()) <= set(inputs) or len(inputs) != len(roles) + 1:
        raise SpecError(
            f"the systems {', '.join(named)} are not those of the inputs: one run of each",
            hint="name one run of each system: ketchup judge kl-s0 k4-s0",
        )
    _refuse_same(inputs, roles)
    first = {_answered(spec, inputs[role]) for role in roles.values()}
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
        for name, role in roles.items()
    }
    if spec.against == REFERENCE:
        texts[REFERENCE] = tuple(_reference(example) for example in examples)
    return tuple(
        Item(
            id=example.id,
            source=example.prompt,
            reference=example.references[0] if example.references else "",
            texts={name: own[index] for name, own in texts.items()},
        )
        for index, example in enumerate(examples)
    )


def _with_opponent(spec: JudgeSpec) -> tuple[str, ...]:
    """Return all whose texts are shown, the opponent last.

    Raises:
        SpecError: too few, or an opponent that makes no sense.
    """
    least = 1 if spec.against or spec.mode == "rating" else 2
    if len(spec.systems) < least:
        raise SpecError(
            f"{len(spec.systems)} systems are named, and a judgement takes {least} or more",
            hint="ketchup judge kl-student --against ketchup-student",
        )
    if not spec.against:
        return spec.systems
    if spec.mode == "rating":
        raise SpecError(
            f"a rating is of one text, so `{spec.against}` is nobody's opponent",
            hint=f"ketchup judge {' '.join(spec.systems)} --mode rating",
        )
    if spec.against in spec.systems:
        raise SpecError(
            f"`{spec.against}` cannot be held against itself",
            hint="--against teacher, --against reference, or another student",
        )
    if spec.against == REFERENCE and spec.with_reference:
        raise SpecError(
            "a judge that is shown the reference would know the opponent's text by it",
            hint="--set with_reference=false",
        )
    return (*spec.systems, spec.against)


def _refuse_same(inputs: Mapping[str, Input], roles: Mapping[str, str]) -> None:
    first: dict[str, str] = {}
    for name, role in roles.items():
        other = first.setdefault(inputs[role].digest, name)
        if other != name:
            raise SpecError(
                f"`{other}` and `{name}` are the same texts: there is nothing to judge",
                hint="name two systems whose generations differ; ketchup ls",
            )


def _reference(example: Example) -> str:
    if not example.references:
        raise SpecError(
            f"example `{example.id}` has no reference to hold texts against",
            hint="--against teacher, or another student",
        )
    return example.references[0]


def _answered(spec: JudgeSpec, texts: Input) -> int:
    recipe = manifest.read(texts.path).spec
    if recipe.get("split") != spec.split:
        raise MismatchError(
            f"generations `{texts.label}` answer split `{recipe.get('split')}`, not `{spec.split}`",
            hint=f"--split {recipe.get('split')}",
        )
    return int(recipe.get("examples") or 0)
