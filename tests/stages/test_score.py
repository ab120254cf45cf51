import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from comets import make_comet_folder
from encoders import make_encoder_folder

from ketchup_cli.errors import DataError, MismatchError, SpecError
from ketchup_cli.models.comet import Comet
from ketchup_cli.records import Example, Generation, ItemScores, Score
from ketchup_cli.reporting import SilentReporter
from ketchup_cli.scoring import corpus_metric
from ketchup_cli.spec import to_table
from ketchup_cli.specs import ScoreSpec
from ketchup_cli.stages import STAGES, score
from ketchup_cli.store.build import begin
from ketchup_cli.store.find import Artifact, Input, as_input, folder_input
from ketchup_cli.store.layout import Store

EXAMPLES = [
    Example(id="a", prompt="the old house", references=("het oude huis", "een oud huis")),
    Example(id="b", prompt="a green bird", references=("een groene vogel",)),
    Example(id="c", prompt="open the table now", references=("open de tafel nu",)),
]
TEXTS = {"a": "een oud huis", "b": "a green bird", "c": ""}
SPEC = ScoreSpec(metrics=("chrf", "bleu", "rouge1", "exact"), resamples=100)


def generation(id: str, **changes: Any) -> Generation:
    row = Generation(id=id, text=TEXTS[id], tokens=(1,), stop="eos", logp=-1.0)
    return msgspec.structs.replace(row, **changes)


GENERATIONS = [generation("c", stop="length"), generation("a"), generation("b")]


def publish(
    store: Store, kind: str, *, spec: dict[str, Any], rows: Sequence[Any], file: str
) -> Artifact:
    with begin(store, kind=kind, version=1, spec=spec, inputs=[], label=kind) as build:
        build.write_rows(file, rows)
        if kind == "corpus":
            build.write_json("report.json", {"languages": spec["languages"]})
        return build.commit(summary={}, signature="", environment={}, seconds=0.0)


def make_inputs(
    folder: Path,
    generations: Sequence[Generation] = GENERATIONS,
    *,
    languages: Sequence[str] = ("en", "nl"),
    spec: dict[str, Any] | None = None,
) -> dict[str, Input]:
    store = Store.open(folder / "runs")
    corpus = publish(
        store, "corpus", spec={"languages": languages}, rows=EXAMPLES, file="test.jsonl"
    )
    spec = {"split": "test"} if spec is None else spec
    texts = publish(store, "generations", spec=spec, rows=generations, file="generations.jsonl")
    return {
        "corpus": as_input(corpus, "corpus"),
        "generations": as_input(texts, "generations"),
    }


def build_scores(
    folder: Path,
    inputs: dict[str, Input],
    spec: ScoreSpec = SPEC,
    reporter: SilentReporter | None = None,
) -> Artifact:
    stage = STAGES["score"]
    with begin(
        Store.open(folder / "runs"),
        kind=stage.kind,
        version=stage.version,
        spec=to_table(spec),
        inputs=list(inputs.values()),
        label="score",
    ) as build:
        summary = score.run(spec, inputs, build, reporter or SilentReporter())
        return build.commit(summary=summary, signature="", environment={}, seconds=0.0)


def test_scores_hold_value_interval_and_signature_in_the_order_asked(tmp_path: Path) -> None:
    artifact = build_scores(tmp_path, make_inputs(tmp_path))

    scores = msgspec.json.decode((artifact.path / "scores.json").read_bytes(), type=list[Score])
    assert [row.metric for row in scores] == list(SPEC.metrics)
    assert all(row.interval is not None and row.signature and row.count == 3 for row in scores)


def test_texts_meet_their_references_by_id(tmp_path: Path) -> None:
    artifact = build_scores(tmp_path, make_inputs(tmp_path))

    lines = (artifact.path / "items.jsonl").read_bytes().splitlines()
    items = [msgspec.json.decode(line, type=ItemScores) for line in lines]
    assert [(row.id, row.values["exact"]) for row in items] == [
        ("a", 100.0),
        ("b", 0.0),
        ("c", 0.0),
    ]


def test_the_summary_holds_the_headline_values(tmp_path: Path) -> None:
    artifact = build_scores(tmp_path, make_inputs(tmp_path))

    summary = artifact.manifest.summary
    hypotheses = [TEXTS[row.id] for row in EXAMPLES]
    expected = corpus_metric("chrf", hypotheses, [row.references for row in EXAMPLES])
    assert summary["scores"]["chrf"]["value"] == expected
    assert summary["scores"]["bleu"]["signature"].startswith("nrefs:var|")
    assert summary["split"] == "test"
    assert summary["bootstrap"] == {"level": 0.95, "resamples": 100, "seed": 0}


def test_the_summary_counts_texts_that_are_hardly_texts(tmp_path: Path) -> None:
    artifact = build_scores(tmp_path, make_inputs(tmp_path))

    assert artifact.manifest.summary["texts"] == {
        "scored": 3,
        "not_scored": 0,
        "unfinished": 1,
        "empty": 1,
        "copies_of_prompt": 1,
    }


def test_of_several_texts_the_first_is_scored_and_that_is_said(tmp_path: Path) -> None:
    more = [generation(id, sample=1, text="iets anders") for id in "abc"]
    reporter = SilentReporter()

    several = build_scores(
        tmp_path / "several", make_inputs(tmp_path, [*more, *GENERATIONS]), reporter=reporter
    )
    single = build_scores(tmp_path / "single", make_inputs(tmp_path))

    warning = "several texts per prompt: sample 0 is scored, 3 other texts are not"
    assert several.manifest.summary["scores"] == single.manifest.summary["scores"]
    assert several.manifest.summary["warnings"] == [warning]
    assert ("warning", warning) in reporter.notes


def test_a_text_that_is_missing_ends_the_stage_without_an_artifact(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, GENERATIONS[:2])

    with pytest.raises(DataError, match="1 examples have no generation"):
        build_scores(tmp_path / "out", inputs)
    assert not list((tmp_path / "out").rglob("scores.json"))


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path)

    first, second = (build_scores(tmp_path / name, inputs) for name in ("one", "two"))

    assert first.digest == second.digest


def test_the_corpus_language_guards_the_tokenizer(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, languages=("en", "zh"))
    spec = msgspec.structs.replace(SPEC, tokenize="13a")

    with pytest.raises(SpecError, match="does not find words in `zh`"):
        build_scores(tmp_path, inputs, spec)


def test_the_corpus_language_chooses_the_tokenizer(tmp_path: Path) -> None:
    artifact = build_scores(tmp_path, make_inputs(tmp_path, languages=("en", "zh")))

    assert "|tok:zh|" in artifact.manifest.summary["scores"]["bleu"]["signature"]


def test_words_are_counted_in_the_references_of_the_split_that_is_named(tmp_path: Path) -> None:
    spec = ScoreSpec(
        metrics=("words",), frequency_split="test", frequency_buckets=(1, 2), resamples=100
    )

    artifact = build_scores(tmp_path, make_inputs(tmp_path), spec)

    details = artifact.manifest.summary["details"]
    # "een" stands twice in the references; of "een oud huis" all words match, "green" never occurs
    assert details["words[2+].matched"] == 2
    assert details["words[0].in_hypotheses"] == 3
    signature = artifact.manifest.summary["scores"]["words"]["signature"]
    assert "counts:references of test of corpus " in signature


def test_lexical_choice_is_learnt_from_the_split_that_is_named(tmp_path: Path) -> None:
    spec = ScoreSpec(metrics=("lexical",), frequency_split="test", resamples=100)
    artifact = build_scores(tmp_path, make_inputs(tmp_path), spec)

    found = artifact.manifest.summary["scores"]["lexical"]
    assert 0.0 < found["value"] < 100.0
    assert "counts:prompts of test of corpus " in found["signature"]


def test_a_split_to_count_words_in_that_is_not_there_is_named_before_the_work(
    tmp_path: Path,
) -> None:
    spec = ScoreSpec(metrics=("words",))

    with pytest.raises(SpecError, match="`train` is not a split of this corpus"):
        score.plan(spec, make_inputs(tmp_path))


def test_pass_at_k_is_of_all_samples(tmp_path: Path) -> None:
    more = [generation("a", sample=1, text="x"), generation("b", sample=1, text="een groene vogel")]
    third = generation("c", sample=1, text="x")
    spec = ScoreSpec(metrics=("exact",), pass_k=(1, 2), resamples=100)

    artifact = build_scores(tmp_path, make_inputs(tmp_path, [*GENERATIONS, *more, third]), spec)

    values = {name: one["value"] for name, one in artifact.manifest.summary["scores"].items()}
    # right: one of two, one of two, none of two
    assert values == pytest.approx({
        "exact": 100 / 3,
        "exact/pass@1": 100 / 3,
        "exact/pass@2": 200 / 3,
    })
    (warning,) = artifact.manifest.summary["warnings"]
    assert warning.endswith("3 other texts count for pass@k and self-BLEU alone")


def test_a_metric_that_crashes_leaves_no_scores(tmp_path: Path) -> None:
    spec = ScoreSpec(metrics=("chrf", "gsm8k-numeric"), resamples=100)

    with pytest.raises(DataError, match="holds no number"):
        build_scores(tmp_path / "out", make_inputs(tmp_path), spec)
    assert not list((tmp_path / "out").rglob("scores.json"))


def test_the_plan_names_split_and_metrics(tmp_path: Path) -> None:
    plan = dict(score.plan(SPEC, make_inputs(tmp_path)))

    assert plan["split"] == "test"
    assert plan["metrics"] == "chrf, bleu, rouge1, exact"


def test_the_plan_refuses_an_unknown_metric(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="nearest: `bleu`"):
        score.plan(ScoreSpec(metrics=("blue",)), make_inputs(tmp_path))


def test_generations_that_do_not_tell_their_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="do not tell which split"):
        score.plan(SPEC, make_inputs(tmp_path, spec={}))


def test_every_metric_is_noted_with_its_signature(tmp_path: Path) -> None:
    reporter = SilentReporter()

    artifact = build_scores(tmp_path, make_inputs(tmp_path), reporter=reporter)

    scores = json.loads((artifact.path / "scores.json").read_bytes())
    notes = dict(reporter.notes)
    assert all(row["signature"] in notes[row["metric"]] for row in scores)


def test_where_only_the_first_examples_were_answered_only_those_are_scored(tmp_path: Path) -> None:
    inputs = make_inputs(
        tmp_path, [generation("b"), generation("a")], spec={"split": "test", "examples": 2}
    )

    artifact = build_scores(tmp_path, inputs)

    assert artifact.manifest.summary["examples"] == 2


def test_bertscore_comes_from_a_local_encoder_with_its_digest_in_the_signature(
    tmp_path: Path,
) -> None:
    folder = make_encoder_folder(tmp_path / "encoder")
    encoder = folder_input(folder, "encoder", kind="model")
    inputs = {**make_inputs(tmp_path), "encoder": encoder}
    spec = ScoreSpec(metrics=("bertscore", "exact"), resamples=100, device="cpu")

    artifact = build_scores(tmp_path, inputs, spec)

    scores = msgspec.json.decode((artifact.path / "scores.json").read_bytes(), type=list[Score])
    assert [one.metric for one in scores] == ["bertscore", "exact"]
    assert f"|encoder:{encoder.digest.removeprefix('sha256:')[:16]}|" in scores[0].signature
    assert set(scores[0].details) == {"precision", "recall"}
    lines = (artifact.path / "items.jsonl").read_bytes().splitlines()
    items = [msgspec.json.decode(line, type=ItemScores) for line in lines]
    # the first text is one of its references, the last is empty
    assert items[0].values["bertscore"] == pytest.approx(100.0, abs=1e-4)
    assert items[2].values["bertscore"] == 0.0


def test_comet_comes_from_a_local_checkpoint_with_its_digest_in_the_signature(
    tmp_path: Path,
) -> None:
    checkpoint = folder_input(make_comet_folder(tmp_path / "comet"), "comet", kind="model")
    inputs = {**make_inputs(tmp_path), "comet": checkpoint}
    spec = ScoreSpec(metrics=("exact", "comet"), resamples=100, device="cpu")

    artifact = build_scores(tmp_path, inputs, spec)

    scores = msgspec.json.decode((artifact.path / "scores.json").read_bytes(), type=list[Score])
    assert [one.metric for one in scores] == ["exact", "comet"]
    weights = checkpoint.digest.removeprefix("sha256:")[:16]
    assert scores[1].signature.startswith(f"comet|refs:best|empty:0|weights:{weights}|class:")
    lines = (artifact.path / "items.jsonl").read_bytes().splitlines()
    items = [msgspec.json.decode(line, type=ItemScores) for line in lines]
    own = Comet.load(checkpoint.path, device="cpu")
    several = own.score([(EXAMPLES[0].prompt, TEXTS["a"], text) for text in EXAMPLES[0].references])
    assert items[0].values["comet"] == pytest.approx(100 * max(several), abs=1e-4)
    # an empty text, about which the checkpoint is not asked
    assert items[2].values["comet"] == 0.0
    assert "1 empty texts count as 0" in " ".join(artifact.manifest.summary["warnings"])


def base_of(folder: Path, generations: Sequence[Generation], spec: dict[str, Any]) -> Input:
    made = publish(
        Store.open(folder / "runs"),
        "generations",
        spec={**spec, "seed": 1},
        rows=generations,
        file="generations.jsonl",
    )
    return as_input(made, "base")


def test_what_a_base_solved_is_told_as_kept_and_new(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path)
    rows = [generation("a", text="x"), generation("b", text="een groene vogel"), generation("c")]
    inputs |= {"base": base_of(tmp_path, rows, {"split": "test"})}
    spec = ScoreSpec(metrics=("exact",), resamples=100)
    artifact = build_scores(tmp_path, inputs, spec)
    rows_of_scores = json.loads((artifact.path / "scores.json").read_bytes())

    # the base solved b alone, the texts solve a alone
    assert {row["metric"]: row["value"] for row in rows_of_scores} == {
        "exact": pytest.approx(100 / 3),
        "exact/keep": 0.0,
        "exact/new": 50.0,
    }


def test_a_base_of_other_examples_is_refused(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path)
    base = base_of(tmp_path, [generation("a"), generation("b")], {"split": "test", "examples": 2})

    with pytest.raises(MismatchError, match="answers other examples"):
        build_scores(tmp_path, inputs | {"base": base}, ScoreSpec(metrics=("exact",)))
