"""COMET as a metric of `score`: what it is asked about."""

from pathlib import Path

import pytest
from comets import make_comet_folder

from ketchup_cli.errors import SpecError
from ketchup_cli.models.comet import Comet
from ketchup_cli.scoring.items import Items
from ketchup_cli.stages.similarity import measure_comet


def test_comet_reads_the_source_without_what_the_template_put_around_it(tmp_path: Path) -> None:
    own = Comet.load(make_comet_folder(tmp_path), device="cpu")

    def items(prompt: str) -> Items:
        return Items(ids=("a",), hypotheses=("oud",), references=(("huis",),), prompts=(prompt,))

    bare = measure_comet(own, items("the old house"), digest="sha256:0")
    told = measure_comet(
        own, items("old: the old house ="), digest="sha256:0", template="old: {prompt} ="
    )

    assert told.value == bare.value
    with pytest.raises(SpecError, match="there are no prompts"):
        measure_comet(own, Items(("a",), ("oud",), (("huis",),)), digest="sha256:0")
