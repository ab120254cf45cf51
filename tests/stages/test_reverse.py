"""The stage `reverse`: what a corpus holds after it, and what models make of the rows."""

import msgspec
import pytest
import tiny

from ketchup_cli import corpora
from ketchup_cli.errors import DataError, MismatchError, SpecError
from ketchup_cli.models.encode import Limits
from ketchup_cli.models.sources import reference_rows
from ketchup_cli.records import Example
from ketchup_cli.specs import ReversalProbeSpec, ReverseSpec
from ketchup_cli.store.find import file_input
from ketchup_cli.store.layout import Store

LIMITS = Limits(prompt=64, completion=64)


@pytest.fixture
def corpus(tmp_path):
    return tiny.make_corpus(tmp_path / "corpus")


def reverse(folder, corpus, *, entities=None, **settings):
    given = tiny.inputs(corpus=corpus)
    if entities is not None:
        folder.mkdir(exist_ok=True)
        path = folder / "entities.txt"
        path.write_text(entities, encoding="utf-8")
        given["entities"] = file_input(path, "entities")
    return tiny.run_stage(Store.open(folder / "store"), "reverse", ReverseSpec(**settings), given)


def text_of(example):
    return f"{example.prompt} {example.references[0]}".split()


def count_words(examples):
    return sum(len(text_of(example)) for example in examples)


def test_data_matching_adds_the_reverse_after_every_text(tmp_path, corpus):
    made = reverse(tmp_path, corpus)

    before, after = (corpora.read_split(path, "train") for path in (corpus, made.path))
    assert after[::2] == before
    assert [text_of(row) for row in after[1::2]] == [text_of(row)[::-1] for row in before]
    assert {row.reversed for row in after[1::2]} == {"text"}
    assert count_words(after) == 2 * count_words(before)


def test_compute_matching_keeps_every_text_once_and_all_its_words(tmp_path, corpus):
    made = reverse(tmp_path, corpus, match="compute")

    before, after = (corpora.read_split(path, "train") for path in (corpus, made.path))
    assert len(after) == len(before)
    assert count_words(after) == count_words(before)
    assert 0.2 < sum(bool(row.reversed) for row in after) / len(after) < 0.8


def test_other_splits_are_copied_byte_for_byte(tmp_path, corpus):
    made = reverse(tmp_path, corpus)

    assert [corpora.read_split(made.path, name) for name in ("dev", "test")] == [
        corpora.read_split(corpus, name) for name in ("dev", "test")
    ]


def test_a_text_is_turned_alike_wherever_it_stands(tmp_path, corpus):
    settings = {"mode": "random", "most": 3, "match": "compute"}
    made = reverse(tmp_path / "a", corpus, **settings)
    rows = [msgspec.json.encode(row) for row in reversed(corpora.read_split(corpus, "train"))]
    (corpus / "train.jsonl").write_bytes(b"\n".join(rows) + b"\n")

    other = reverse(tmp_path / "b", corpus, **settings)

    assert corpora.read_split(other.path, "train")[::-1] == corpora.read_split(made.path, "train")


def test_listed_entities_stay_whole_and_are_counted_where_they_do_not(tmp_path, corpus):
    first = corpora.read_split(corpus, "train")[0]
    entity = " ".join(text_of(first)[:2])

    whole = reverse(tmp_path / "a", corpus, mode="entity", entities=entity)
    cut = reverse(tmp_path / "b", corpus, entities=entity)

    assert corpora.read_split(whole.path, "train")[1].references[0].endswith(entity)
    assert whole.manifest.summary["entities_cut"] == 0
    assert cut.manifest.summary["entities_cut"] == cut.manifest.summary["entities"] > 0


def test_a_list_of_entities_must_be_named(tmp_path, corpus):
    with pytest.raises(SpecError, match="no list is named"):
        reverse(tmp_path, corpus, mode="entity")


def test_a_text_of_one_word_is_refused(tmp_path, corpus):
    row = Example(id="a", prompt="word", references=(" ",))
    (corpus / "train.jsonl").write_bytes(msgspec.json.encode(row))

    with pytest.raises(DataError, match="no text to turn around"):
        reverse(tmp_path, corpus)


def test_tokens_are_turned_around_once_there_is_a_tokenizer(tmp_path, corpus):
    made = reverse(tmp_path, corpus, mode="tokens")
    rows = corpora.read_split(made.path, "train")[:2]
    policy = tiny.make_policy("llama")

    forward, back = reference_rows(policy, rows, LIMITS).rows

    whole, turned = ([*row.prompt, *row.completion] for row in (forward, back))
    assert turned[0] == whole[0] == policy.tokenizer.bos_token_id
    assert turned[-1] == whole[-1] == policy.eos_id
    assert turned[1:-1] == whole[1:-1][::-1]
    assert len(back.prompt) == 2


def test_a_model_with_an_encoder_refuses_texts_from_last_to_first(tmp_path, corpus):
    made = reverse(tmp_path, corpus)

    with pytest.raises(MismatchError, match="for causal models"):
        reference_rows(tiny.make_policy("t5"), corpora.read_split(made.path, "train"), LIMITS)


def test_the_probe_is_a_corpus_with_its_names_beside(tmp_path):
    store = Store.open(tmp_path / "store")
    made = tiny.run_stage(store, "reversal-probe", ReversalProbeSpec(pairs=6), {})

    assert corpora.split_names(made.path) == ["train", "dev", "test"]
    names = (made.path / "names.txt").read_text(encoding="utf-8").splitlines()
    assert len(names) == 12
