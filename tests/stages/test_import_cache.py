from collections.abc import Callable
from pathlib import Path
from typing import Any

import caches
import foreign
import pytest
import tiny
import torch

from ketchup_cli import functional as F
from ketchup_cli.corpora import read_split
from ketchup_cli.errors import DataError, MismatchError, NotFound
from ketchup_cli.models.cache import read_meta
from ketchup_cli.models.encode import Row
from ketchup_cli.models.load import load_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.teacher import LiveTeacher
from ketchup_cli.records import Example
from ketchup_cli.signals import Needs
from ketchup_cli.specs import ImportCacheSpec
from ketchup_cli.stages import import_cache
from ketchup_cli.store.artifact import Artifact, Input, file_input, folder_input
from ketchup_cli.store.layout import Store

COUNT = 6
KEPT = 9
TOLERANCE = 5e-3
"""Gaps in float16, and logits of another batch."""


class Home:
    """A corpus, a model whose tokenizer and logits the rows are of, and a folder for them."""

    def __init__(self, folder: Path, architecture: str) -> None:
        self.folder = folder
        self.corpus = tiny.make_corpus(folder / "corpus", train=COUNT)
        self.model = tiny.make_policy_folder(folder / "model", architecture)
        self.policy: Policy = load_policy(self.model, device="cpu")
        self.rows: tuple[Row, ...] = caches.rows_of(self.policy, self.corpus)
        self.examples: list[Example] = read_split(self.corpus, "train")
        self.data = folder / "rows"

    def inputs(self) -> dict[str, Input]:
        given = tiny.inputs(student=self.model)
        given["corpus"] = folder_input(self.corpus, "corpus", kind="corpus")
        found = folder_input if self.data.is_dir() else file_input
        return {**given, "rows": found(self.data, "rows")}

    def run(self, **settings: Any) -> Artifact:
        store = Store.open(self.folder / "runs")
        spec = ImportCacheSpec(**settings)
        return tiny.run_stage(store, "import-cache", spec, self.inputs())

    def write_distillkit(self, change: Callable[[list[dict]], None] = lambda _rows: None) -> None:
        rows = [foreign.distillkit_row(self.policy, row, k=KEPT) for row in self.rows]
        change(rows)
        foreign.write_rows(self.data / "data_0.parquet", rows[:4])
        foreign.write_rows(self.data / "data_1.parquet", rows[4:])
        foreign.write_config(self.data, d=self.policy.vocabulary, k=KEPT)

    def write_axolotl(
        self, change: Callable[[list[dict]], None] = lambda _rows: None, *, named: bool = False
    ) -> None:
        rows = [
            foreign.axolotl_row(example, foreign.log_probs(self.policy, row), k=KEPT, named=named)
            for example, row in zip(self.examples, self.rows, strict=True)
        ]
        change(rows)
        foreign.write_rows(self.data / "rows.parquet", rows)

    def needs(self, **settings: Any) -> Needs:
        return Needs(teacher="top", **settings)


@pytest.fixture
def decoder(tmp_path: Path) -> Home:
    return Home(tmp_path, "gpt2")


@pytest.fixture
def t5(tmp_path: Path) -> Home:
    return Home(tmp_path, "t5")


def assert_like_the_live_teacher(
    home: Home, artifact: Artifact, *, temperature: float = 1.0
) -> None:
    """Hold the divergences a cache gives against those of the model's own largest logits."""
    batch = caches.batch_of(home.policy, home.inputs(), (4, 0, 2))
    needs = home.needs(temperature=temperature)
    top = caches.read(artifact, batch, needs).top
    live = LiveTeacher(home.policy).signal(batch, needs)
    assert top is not None
    assert live.dense is not None
    logits_NV = live.dense.logits(slice(None))
    mask_BT = batch.mask_BT.bool()
    lse_N1 = (logits_NV / temperature).logsumexp(-1, keepdim=True)
    ids, gaps, tail = F.top_entries(logits_NV, m=KEPT, lse_NK=lse_N1, temperatures=(temperature,))

    assert torch.equal(top.ids_BTM[mask_BT], ids)
    torch.testing.assert_close(top.gaps_BTM[mask_BT], gaps, atol=TOLERANCE, rtol=1e-3)
    torch.testing.assert_close(top.tail_BT[mask_BT], tail[:, 0], atol=1e-5, rtol=0)


def test_a_distillkit_capture_is_what_the_live_teacher_says(decoder: Home) -> None:
    decoder.write_distillkit()

    artifact = decoder.run(format="distillkit", agreement=0.0)

    assert_like_the_live_teacher(decoder, artifact)


@pytest.mark.parametrize("named", [False, True], ids=["ids beside", "named by vLLM"])
def test_an_axolotl_dataset_is_what_the_live_teacher_says(t5: Home, named: bool) -> None:
    t5.write_axolotl(named=named)

    assert_like_the_live_teacher(t5, t5.run(format="axolotl", agreement=0.0))


def test_log_probabilities_of_another_temperature_serve_that_temperature(decoder: Home) -> None:
    rows = [
        foreign.distillkit_row(decoder.policy, row, k=KEPT, temperature=2.0) for row in decoder.rows
    ]
    foreign.write_rows(decoder.data / "data_0.parquet", rows)
    foreign.write_config(decoder.data, d=decoder.policy.vocabulary, k=KEPT)

    artifact = decoder.run(temperature=2.0, agreement=0.0)

    assert_like_the_live_teacher(decoder, artifact, temperature=2.0)


def test_the_order_of_the_rows_does_not_matter(decoder: Home) -> None:
    decoder.write_distillkit(lambda rows: rows.reverse())

    assert_like_the_live_teacher(decoder, decoder.run(agreement=0.0))


def test_rows_about_other_texts_are_counted(decoder: Home) -> None:
    decoder.write_distillkit(
        lambda rows: rows.append({**rows[0], "input_ids": [5, *rows[0]["input_ids"]]})
    )

    assert decoder.run(agreement=0.0).manifest.summary["unused"] == 1


def test_an_imported_cache_knows_entries_and_no_statistics(decoder: Home) -> None:
    decoder.write_distillkit()
    artifact = decoder.run(agreement=0.0)
    batch = caches.batch_of(decoder.policy, decoder.inputs(), (0,))

    assert read_meta(artifact.path).format == 2
    assert caches.read(artifact, batch, decoder.needs()).taken_BT[0].isnan().all()
    with pytest.raises(MismatchError, match="imported"):
        caches.read(artifact, batch, Needs(teacher="stats"))


def test_a_step_with_fewer_entries_shortens_all(t5: Home) -> None:
    def shorten(rows: list[dict]) -> None:
        for field in ("llm_text_generation_vllm_logprobs", "target_token_ids"):
            rows[2][field] = [step[:5] for step in rows[2][field]]

    t5.write_axolotl(shorten)

    assert read_meta(t5.run(format="axolotl", agreement=0.0).path).layout.top == 5


def test_a_single_file_is_enough_for_axolotl(t5: Home) -> None:
    t5.write_axolotl()
    t5.data = t5.data / "rows.parquet"

    assert t5.run(format="axolotl", agreement=0.0).manifest.summary["rows"] == COUNT


def drop_a_row(rows: list[dict]) -> None:
    del rows[3]


def drop_a_step(rows: list[dict]) -> None:
    rows[1]["llm_text_generation_vllm_logprobs"].pop()
    rows[1]["target_token_ids"].pop()


def ids_beyond(rows: list[dict]) -> None:
    rows[1]["target_token_ids"][0][0] = 10**6


def logits(rows: list[dict]) -> None:
    field = "llm_text_generation_vllm_logprobs"
    rows[1][field] = [[value + 20 for value in step] for step in rows[1][field]]


def ask_another(rows: list[dict]) -> None:
    rows[1]["messages_combined"][0]["content"] = "something else"


BAD_AXOLOTL = {
    "a row missing": (drop_a_row, DataError, "has no row in"),
    "a step missing": (drop_a_step, DataError, "steps for an answer of"),
    "ids past the vocabulary": (ids_beyond, MismatchError, "has id 1000000"),
    "logits": (logits, DataError, "exponentials sum to"),
    "another question": (ask_another, DataError, "1 rows are about none"),
}


@pytest.mark.parametrize("name", BAD_AXOLOTL)
def test_rows_that_cannot_be_mapped_are_refused_with_the_reason(name: str, t5: Home) -> None:
    change, error, words = BAD_AXOLOTL[name]
    t5.write_axolotl(change)

    with pytest.raises(error, match=words) as raised:
        t5.run(format="axolotl", agreement=0.0)
    assert getattr(raised.value, "hint", None)


def write_sure_rows(home: Home, shift: int) -> None:
    """Write rows of a teacher that is sure of every token, moved by so many steps."""
    rows = []
    for example, row in zip(home.examples, home.rows, strict=True):
        tokens_T = torch.tensor(row.completion).roll(shift)
        logits_TV = 10.0 * torch.nn.functional.one_hot(tokens_T, home.policy.vocabulary)
        rows.append(foreign.axolotl_row(example, logits_TV.log_softmax(-1), k=1))
    foreign.write_rows(home.data / "rows.parquet", rows)


def test_rows_in_line_with_their_tokens_pass(t5: Home) -> None:
    write_sure_rows(t5, 0)

    assert t5.run(format="axolotl").manifest.summary["agreement"] == 1.0


def test_rows_out_of_line_with_their_tokens_are_refused(t5: Home) -> None:
    write_sure_rows(t5, 1)

    with pytest.raises(MismatchError, match="out of line"):
        t5.run(format="axolotl")


def test_a_distillkit_capture_is_not_for_an_encoder_decoder(t5: Home) -> None:
    foreign.write_rows(t5.data / "data_0.parquet", [{"input_ids": [1], "token_ids": [[1]]}])

    with pytest.raises(MismatchError, match="encoder-decoder"):
        t5.run(format="distillkit")


def test_packed_rows_without_their_description_are_refused_by_the_plan(decoder: Home) -> None:
    decoder.write_distillkit()
    (decoder.data / "compression_config.yaml").unlink()

    with pytest.raises(NotFound, match="compression_config"):
        import_cache.plan(ImportCacheSpec(), decoder.inputs())


def test_a_folder_without_parquet_is_refused_by_the_plan(decoder: Home) -> None:
    decoder.data.mkdir()

    with pytest.raises(NotFound, match="no parquet"):
        import_cache.plan(ImportCacheSpec(), decoder.inputs())


def test_a_capture_with_too_few_steps_is_refused(decoder: Home) -> None:
    def cut(rows: list[dict]) -> None:
        for field in ("compressed_logprobs", "bytepacked_indices"):
            rows[0][field] = rows[0][field][:-1]

    decoder.write_distillkit(cut)

    with pytest.raises(DataError, match="steps for a text of"):
        decoder.run(agreement=0.0)
