from pathlib import Path

import pytest
import tiny

from ketchup_cli.errors import SpecError
from ketchup_cli.models.load import load_policy
from ketchup_cli.specs import NewModelSpec
from ketchup_cli.stages import new_model
from ketchup_cli.store.layout import Store


def make_inputs(folder: Path) -> dict:
    return tiny.inputs(corpus=tiny.make_corpus(folder / "corpus"))


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_new_model_loads_from_its_artifact(architecture: str, tmp_path: Path) -> None:
    artifact = tiny.run_stage(
        Store.open(tmp_path / "runs"),
        "new-model",
        tiny.make_spec(architecture),
        make_inputs(tmp_path),
    )
    policy = load_policy(artifact.path, device="cpu")

    assert policy.model.config.model_type == architecture
    assert artifact.manifest.summary["vocabulary"] == policy.vocabulary
    assert artifact.manifest.summary["parameters"] == policy.model.num_parameters()


def test_the_same_recipe_gives_the_same_digest(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    digests = {
        tiny.run_stage(Store.open(tmp_path / name), "new-model", tiny.make_spec("t5"), given).digest
        for name in ("one", "two")
    }

    assert len(digests) == 1


def test_the_tokenizer_sees_the_training_split_alone(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    store = Store.open(tmp_path / "runs")
    before = tiny.run_stage(store, "new-model", tiny.make_spec("t5"), given)
    for split in ("dev", "test"):
        path = tmp_path / "corpus" / f"{split}.jsonl"
        path.write_text(path.read_text().replace("bird", "BIRDQXYZ"))
    changed = tiny.inputs(corpus=tmp_path / "corpus")
    after = tiny.run_stage(store, "new-model", tiny.make_spec("t5"), changed)

    assert (before.id != after.id, before.digest == after.digest) == (True, True)


def test_weights_are_saved_in_the_type_asked_for(tmp_path: Path) -> None:
    spec = tiny.make_spec("t5")
    sizes = {}
    for dtype in ("float32", "bfloat16"):
        table = {name: getattr(spec, name) for name in spec.__struct_fields__}
        artifact = tiny.run_stage(
            Store.open(tmp_path / "runs"),
            "new-model",
            NewModelSpec(**table | {"save_dtype": dtype}),
            make_inputs(tmp_path),
        )
        sizes[dtype] = (artifact.path / "model.safetensors").stat().st_size

    assert sizes["bfloat16"] < 0.6 * sizes["float32"]


def test_the_plan_tells_shape_and_text(tmp_path: Path) -> None:
    lines = dict(new_model.plan(tiny.make_spec("t5"), make_inputs(tmp_path)))

    assert lines["model"] == "t5, 2+2 layers, width 32"
    assert "unigram tokenizer of 90 pieces from split train of corpus" in lines["plan"]


def test_a_corpus_without_training_text_is_refused(tmp_path: Path) -> None:
    given = make_inputs(tmp_path)
    (tmp_path / "corpus" / "train.jsonl").unlink()

    with pytest.raises(SpecError, match="`train` is not a split"):
        tiny.run_stage(Store.open(tmp_path / "runs"), "new-model", tiny.make_spec("t5"), given)
