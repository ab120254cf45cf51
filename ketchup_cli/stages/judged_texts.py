"""The texts a judge is shown: every example that all systems have answered."""

from collections.abc import Iterator, Mapping

from ketchup_cli import corpora
from ketchup_cli.errors import MismatchError, SpecError
from ketchup_cli.judging.calls import REFERENCE, Item
from ketchup_cli.records import Example
from ketchup_cli.scoring.items import join
from ketchup_cli.specs import JudgeSpec
from ketchup_cli.stages.comparison import ROLE
from ketchup_cli.store import find, manifest
from ketchup_cli.store.find import Input, Node
from ketchup_cli.store.layout import Store

HUMAN = "human"
"""Role of the file with what people said."""
GENERATIONS_FILE = "generations.jsonl"


def items_of(spec: JudgeSpec, inputs: Mapping[str, Input]) -> tuple[Item, ...]:
    """Return the examples every system has answered.

    Raises:
        SpecError: too few systems, or systems that are not those of the inputs.
        MismatchError: texts of another split, or of other examples.
    """
    roles = _roles(spec)
    named = (*roles, REFERENCE) if spec.against == REFERENCE else tuple(roles)
    if set(inputs) - {HUMAN} != {"corpus", *roles.values()}:
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
            document=example.document,
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


def _roles(spec: JudgeSpec) -> dict[str, str]:
    """Return the role of every text that a model wrote, by the name of its system."""
    written = [
        name for name in _with_opponent(spec) if (name, spec.against) != (REFERENCE, REFERENCE)
    ]
    return {name: ROLE.format(system=place, run=1) for place, name in enumerate(written, 1)}


def writers_of(spec: JudgeSpec, inputs: Mapping[str, Input]) -> dict[str, tuple[str, ...]]:
    """Return for every system the names of all models its text came from, teachers among them."""
    return {name: (name, *_names(inputs[role])) for name, role in _roles(spec).items()}


def _names(texts: Input) -> Iterator[str]:
    artifact = None
    if texts.id is not None:
        # an artifact lies in objects/KIND/ID below the root of its store
        store = Store.open(texts.path.parents[2], create=False)
        artifact = find.lookup(store, texts.kind, texts.id)
    yield texts.label
    if artifact is not None:
        yield from _models(find.lineage(store, artifact))


def _models(node: Node) -> Iterator[str]:
    if node.kind == "model":
        yield node.label
    for parent in node.parents:
        yield from _models(parent)


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
