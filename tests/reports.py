"""A store with a whole small lineage, texts of it as hostile as one likes: what tests of pages stand on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ketchup_cli.store import find
from ketchup_cli.store.artifact import Artifact, Input, as_input
from ketchup_cli.store.build import begin
from ketchup_cli.store.encoding import json_lines
from ketchup_cli.store.layout import Store

HOSTILE = (
    "</pre></script><script>window.owned = 1; alert(1)</script>",
    '"><svg onload="alert(2)"><img src="{host}/a.png" onerror="alert(3)">',
    "<a href=\"javascript:alert(4)\">x</a><iframe src='{host}/b'></iframe>",
    "<style>@import url({host}/c.css);</style><link rel=stylesheet href={host}/d.css>",
    "<!-- --!> ]]> <math><mtext></form><form><mglyph><style></math><img src={host}/e onerror=alert(5)>",
    "{{ 7 * 7 }} {% for a in b %} $\\frac{1}{$ \x1b[31mred \u202eevil",
)
"""Texts that would do something in a page that did not escape them."""
WORDS = (
    "het oude huis",
    "een groene vogel",
    "nu open ik de deur",
    "de tafel is klein",
    "ja",
    "nee",
)


def publish(
    store: Store,
    kind: str,
    files: Mapping[str, object],
    *,
    name: str = "",
    inputs: Sequence[Input] = (),
    **about: Any,
) -> Artifact:
    """Publish an artifact; lists of a `.jsonl` become lines, `log` becomes `logs/metrics.jsonl`."""
    log = about.pop("log", None)
    spec = about.pop("spec", {})
    with begin(
        store,
        kind=kind,
        version=1,
        spec=spec,
        inputs=inputs,
        label=name or kind,
    ) as build:
        for path, content in files.items():
            build.write_bytes(path, _encoded(path, content))
        if log is not None:
            rows = "".join(json.dumps(row) + "\n" for row in log)
            build.log_path("metrics.jsonl").write_text(rows, encoding="utf-8")
        artifact = build.commit(
            summary=about.pop("summary", {}),
            signature=about.pop("signature", f"{kind}/1|v:0.1.0"),
            environment={"machine": "Linux x86_64, 2 cores"},
            seconds=about.pop("seconds", 2.0),
        )
    if name:
        find.give_name(store, name, artifact)
    return artifact


def _encoded(path: str, content: object) -> bytes:
    if isinstance(content, bytes):
        return content
    if path.endswith(".jsonl") and isinstance(content, list):
        return b"".join(json_lines(content, name=path))
    return json.dumps(content).encode()


def make_store(
    folder: Path,
    *,
    texts: Sequence[str] = WORDS,
    values: Sequence[float] = (30.0, 20.0),
    half: float = 2.0,
    label: str = "plain folder",
    students: Sequence[str] = ("one", "two"),
) -> Store:
    """Return a store: a corpus, a start, students with logs, their texts and their scores.

    Args:
        folder: made if need be.
        texts: prompts, references and completions are made of them.
        values: BLEU of each student.
        half: half the width of its interval.
        label: what a plain folder was called that the start was made from.
        students: names of the models; their texts are NAME-test, their scores NAME-scores.
    """
    store = Store.open(folder / "runs")
    rows = [
        {"id": f"{number:016x}", "prompt": f"prompt {text}", "references": [text]}
        for number, text in enumerate(texts)
    ]
    corpus = publish(store, "corpus", {"test.jsonl": rows}, name="words")
    outside = Input(
        role="teacher", kind="model", id=None, digest=f"sha256:{7:064x}", path=folder, label=label
    )
    start = publish(
        store,
        "model",
        {"model.safetensors": b"w" * 1000},
        name="start",
        inputs=[outside],
        summary={"parameters": 1_000_000, "note": texts[0]},
        signature="shrink/1|encoder:1|teacher:00000000|v:0.1.0",
    )
    for number, (name, value) in enumerate(zip(students, values, strict=True)):
        student = publish(
            store,
            "model",
            {"model.safetensors": b"v" * (500 + number)},
            name=name,
            inputs=[as_input(start, "student", label="start@1"), as_input(corpus, "corpus")],
            spec={"updates": 4, "seed": number, "objective": [{"name": "kl"}]},
            summary=training_summary(texts[0]),
            signature=f"distill/1|objective:kl|note:{texts[0].replace('|', ' ')}|v:0.1.0",
            log=training_log(),
        )
        add_texts(store, student, corpus, name=name, texts=texts, value=value, half=half)
    return store


def training_summary(sentence: str) -> dict[str, Any]:
    return {
        "parameters": 600_000,
        "metric": "bleu",
        "best": 12.5,
        "best_update": 4,
        "sentence": f"kept update 4 {sentence}",
    }


def training_log(updates: int = 4) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {
            "update": update,
            "loss": 4.0 / update,
            "return": -20.0 + update,
            "return_variance": 9.0,
            "advantage_variance": 3.0,
            "gradient_norm": 1.5,
            "entropy": 2.0,
            "student_length": 11.0,
        }
        for update in range(1, updates + 1)
    ]
    for update in (0, updates):
        rows.append({"event": "validation", "update": update, "bleu": 3.0 * update, "loss": 1.0})
    return rows


def add_texts(
    store: Store,
    student: Artifact,
    corpus: Artifact,
    *,
    name: str,
    texts: Sequence[str],
    **score: float,
) -> None:
    """Publish what a student wrote and its scores."""
    rows = [
        {
            "id": f"{number:016x}",
            "sample": 0,
            "text": text if number % 2 else f"{text} {name}",
            "tokens": [1, 2],
            "stop": "eos" if number else "length",
            "logp": -1.0,
        }
        for number, text in enumerate(texts)
    ]
    generations = publish(
        store,
        "generations",
        {"generations.jsonl": rows},
        name=f"{name}-test",
        inputs=[as_input(student, "model", label=f"{name}@1"), as_input(corpus, "corpus")],
        spec={"split": "test"},
        summary={"parameters": 600_000, "texts_per_s": 12.5},
        signature="generate/1|v:0.1.0",
    )
    add_scores(store, generations, corpus, name=name, count=len(texts), **score)


def add_scores(
    store: Store,
    generations: Artifact,
    corpus: Artifact,
    *,
    name: str,
    count: int,
    **score: float,
) -> Artifact:
    """Publish BLEU and TER of some texts."""
    value, half = score["value"], score["half"]
    figures = [
        {
            "metric": metric,
            "value": told,
            "interval": [told - half, told + half],
            "count": count,
            "signature": f"{metric}|nrefs:1",
        }
        for metric, told in (("bleu", value), ("ter", 100 - value))
    ]
    items = [
        {"id": f"{number:016x}", "values": {"bleu": 10.0 * number}, "extracted": {}}
        for number in range(count)
    ]
    return publish(
        store,
        "scores",
        {"scores.json": figures, "items.jsonl": items},
        name=f"{name}-scores",
        inputs=[as_input(generations, "generations"), as_input(corpus, "corpus")],
        spec={"metrics": ["bleu", "ter"]},
        summary={"split": "test", "examples": count, "scores": {}, "warnings": []},
        signature="score/1|v:0.1.0",
    )


def make_lab(store: Store, *, name: str = "lab") -> Artifact:
    """Publish a laboratory of two families over three K."""
    estimators = [
        {
            "label": f"K={k} max {sampling}",
            "objective": {"name": "ketchup", "k": 64 if k == "all" else k},
            "reference": "K=1 max sampled",
            "figures": {
                "relative_trace": {"value": 1.0 / (place + 1), "low": 0.1, "high": 1.2},
                "signal_to_noise": {"value": 0.1, "low": None, "high": None},
                "cosine": {"value": None, "low": None, "high": None},
                "bias": {"value": 0.0, "low": None, "high": None},
                "norm": {"value": 2.0, "low": 1.0, "high": 3.0},
            },
        }
        for sampling in ("sampled", "exact")
        for place, k in enumerate((1, 4, "all"))
    ]
    document = {
        "lab": 1,
        "batches": 8,
        "weights": 1000,
        "unit_of_trace": "K=1 max sampled",
        "estimators": estimators,
    }
    return publish(store, "lab", {"lab.json": document}, name=name, signature="lab/1|v:0.1.0")


def make_comparison(store: Store, *, name: str = "versus", words: str = "") -> Artifact:
    """Publish a comparison of `one` and `two` in two metrics."""
    pairs = [
        {
            "one": "one",
            "other": "two",
            "metric": metric,
            "difference": -3.0,
            "interval": [-5.0, -1.0],
            "p": 0.00001,
            "p_holm": 0.02,
            "detectable": 2.5,
            "claim": claim,
        }
        for metric, claim in (("bleu", "lower"), ("ter", "not shown"))
    ]
    document = {
        "split": "test",
        "examples": 6,
        "metrics": [
            {"metric": "bleu", "name": "BLEU", "better": "higher", "signature": "b|1"},
            {"metric": "ter", "name": "TER", "better": "lower", "signature": "t|1"},
        ],
        "systems": [
            {
                "name": system,
                "figures": {
                    "bleu": {"value": 20.0, "runs": [19.0, 21.0], "interval": [18.0, 22.0]},
                    "ter": {"value": 80.0, "runs": [80.0], "interval": None},
                },
            }
            for system in ("one", "two")
        ],
        "pairs": pairs,
        "tests": 2,
        "sentences": [f"You may say: two is worse than one in BLEU {words}."],
        "warnings": ["mind the gap"],
    }
    texts = [
        as_input(find.find(store, f"{system}-test"), f"system.{system}")
        for system in ("one", "two")
    ]
    return publish(store, "comparison", {"comparison.json": document}, name=name, inputs=texts)
