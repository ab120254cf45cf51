"""Publish a student's texts with their words in another order, as a system to be judged.

python shuffle.py STORE GENERATIONS NAME

Nobody can prefer it for how it reads: a judge that does is not to be believed.
"""

import random
import sys
from pathlib import Path

import msgspec

from ketchup_cli import corpora
from ketchup_cli.store import find, manifest, names
from ketchup_cli.store.build import begin
from ketchup_cli.store.layout import Store

FILE = "generations.jsonl"


def main(folder: str, source: str, name: str) -> None:
    """Write the artifact, with the recipe of the texts it is made from, and name it."""
    store = Store.open(Path(folder))
    texts = find.find(store, source, kind="generations")
    rows = [
        msgspec.structs.replace(row, text=shuffled(row.text, seed=row.id))
        for row in corpora.read_generations(texts.path / FILE)
    ]
    with begin(
        store,
        kind="generations",
        version=1,
        spec={**manifest.read(texts.path).spec, "shuffled": True},
        inputs=[find.as_input(texts, "generations", label=source)],
        label=name,
    ) as build:
        made = build.published
        if made is None:
            build.write_rows(FILE, rows)
            made = build.commit(summary={}, signature="", environment={}, seconds=0.0)
    names.give_name(store, name, made)


def shuffled(text: str, *, seed: str) -> str:
    """Return the words of a text in an order that the seed decides."""
    words = text.split()
    random.Random(seed).shuffle(words)
    return " ".join(words)


if __name__ == "__main__":
    main(*sys.argv[1:])
