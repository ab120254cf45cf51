"""A toy corpus and two-layer models, made in milliseconds: what tests stand on."""

import hashlib
import importlib
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from ketchup_cli.models.build import DECODER_ONLY, random_model, train_tokenizer
from ketchup_cli.models.load import quiet, save_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.records import Example
from ketchup_cli.reporting import Reporter, SilentReporter
from ketchup_cli.spec import Spec, to_table
from ketchup_cli.specs import NewModelSpec, TokenizerSpec
from ketchup_cli.stages import STAGES
from ketchup_cli.store.build import begin
from ketchup_cli.store.find import Artifact, Input, folder_input
from ketchup_cli.store.layout import Store

ENCODER_DECODERS = ("t5", "bart", "marian")
ARCHITECTURES = (*ENCODER_DECODERS, *DECODER_ONLY)
FAMILIES = ("t5", "gpt2")
"""One of each kind, where all five would only cost time."""

LEXICON = {
    "the": "de",
    "small": "kleine",
    "old": "oude",
    "green": "groene",
    "house": "huis",
    "table": "tafel",
    "bird": "vogel",
    "page": "pagina",
    "sees": "ziet",
    "opens": "opent",
    "closes": "sluit",
    "and": "en",
    "not": "niet",
    "here": "hier",
    "now": "nu",
    "file": "bestand",
}


def make_examples(count: int, *, seed: int = 0) -> list[Example]:
    """Return `count` different examples: words, and the same words by a lexicon."""
    generator = random.Random(seed)
    words = sorted(LEXICON)
    examples: dict[str, Example] = {}
    while len(examples) < count:
        chosen = generator.choices(words, k=generator.randint(2, 6))
        prompt = " ".join(chosen)
        reference = " ".join(LEXICON[word] for word in chosen)
        name = hashlib.sha256(f"{prompt}\n{reference}".encode()).hexdigest()[:16]
        examples[name] = Example(id=name, prompt=prompt, references=(reference,))
    return list(examples.values())


def make_corpus(
    folder: Path, *, train: int = 24, dev: int = 8, test: int = 8, seed: int = 0
) -> Path:
    """Write a corpus artifact's files into `folder`; no prompt is in two splits."""
    examples = make_examples(train + dev + test, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    bounds = {
        "train": examples[:train],
        "dev": examples[train : train + dev],
        "test": examples[train + dev :],
    }
    for split, rows in bounds.items():
        lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
        (folder / f"{split}.jsonl").write_bytes(lines)
    return folder


def make_spec(architecture: str = "t5", *, layers: int = 2, seed: int = 0) -> NewModelSpec:
    """Return the spec of a model of two layers; no dropout, so that results can be compared."""
    kind = "bpe" if architecture in DECODER_ONLY else "unigram"
    return NewModelSpec(
        architecture=architecture,  # type: ignore[arg-type]
        layers=layers,
        width=32,
        heads=2,
        inner=48,
        positions=64,
        dropout=0.0,
        tokenizer=TokenizerSpec(kind=kind, vocabulary=280 if kind == "bpe" else 90),
        seed=seed,
    )


def make_policy(
    architecture: str = "t5",
    *,
    layers: int = 2,
    seed: int = 0,
    examples: Sequence[Example] | None = None,
) -> Policy:
    """Return a policy with random weights, in eval mode; all seeds share one tokenizer."""
    quiet()
    spec = make_spec(architecture, layers=layers, seed=seed)
    texts = [
        text
        for example in examples or make_examples(40)
        for text in (example.prompt, *example.references)
    ]
    tokenizer = train_tokenizer(texts, spec.tokenizer, architecture=architecture)
    model = random_model(spec, vocabulary=len(tokenizer))
    return Policy(model.eval(), tokenizer)


def make_policy_folder(
    folder: Path, architecture: str = "t5", *, layers: int = 2, seed: int = 0
) -> Path:
    """Write a policy as a model folder that `from_pretrained` and `load_policy` read."""
    folder.mkdir(parents=True, exist_ok=True)
    save_policy(make_policy(architecture, layers=layers, seed=seed), folder, dtype="float32")
    return folder


def inputs(**folders: Path) -> dict[str, Input]:
    """Return plain folders as a stage's inputs by role; `pseudo_targets` is `pseudo-targets`."""
    named = {role.replace("_", "-"): folder for role, folder in folders.items()}
    return {role: folder_input(folder, role) for role, folder in named.items()}


def run_stage(
    store: Store,
    name: str,
    spec: Spec,
    inputs: Mapping[str, Input],
    *,
    reporter: Reporter | None = None,
) -> Artifact:
    """Run a stage and publish what it made."""
    stage = STAGES[name]
    module = importlib.import_module(stage.module)
    with begin(
        store,
        kind=stage.kind,
        version=stage.version,
        spec=to_table(spec),
        inputs=list(inputs.values()),
        label=name,
    ) as build:
        summary = module.run(spec, inputs, build, reporter or SilentReporter())
        return build.commit(summary=summary, signature="test", environment={}, seconds=0.0)


class Interrupted(BaseException):
    """Raised by `InterruptingReporter` in the middle of the work, like a signal."""


class InterruptingReporter:
    """Ends the run at the given count of progress."""

    def __init__(self, after: int) -> None:
        self.left = after

    def note(self, label: str, text: str) -> None:
        del label, text

    def figures(self, line: object) -> None:
        """Ignore them."""

    def progress(
        self, label: str, *, total: int, unit: str, done: int = 0
    ) -> "InterruptingProgress":
        del label, total, unit, done
        return InterruptingProgress(self)


class InterruptingProgress:
    """Counts down."""

    def __init__(self, reporter: InterruptingReporter) -> None:
        self._reporter = reporter

    def advance(self, count: int = 1, *, tokens: int = 0) -> None:
        del tokens
        self._reporter.left -= count
        if self._reporter.left < 0:
            raise Interrupted

    def status(self, text: str) -> None:
        del text

    def __enter__(self) -> "InterruptingProgress":
        return self

    def __exit__(self, *error: object) -> None:
        return None
