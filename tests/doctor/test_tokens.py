"""Checks on ids, templates and the machine, which need no taught model."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from tokenizers import Tokenizer

from ketchup_cli.doctor import machine, tokens, vocabulary
from ketchup_cli.doctor.origins import plain_template, template_of, training_corpora
from ketchup_cli.doctor.result import counts, not_checked, passed
from ketchup_cli.doctor.scoring import SHORT, batch_of
from ketchup_cli.doctor.template import Templates, template
from ketchup_cli.models.fingerprints import difference
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.sources import reference_rows
from ketchup_cli.models.speech import speech_of
from ketchup_cli.specs import CorpusSpec, NewModelSpec, ShrinkSpec, TokenizerSpec
from ketchup_cli.store.artifact import as_input, file_input
from ketchup_cli.store.layout import Store
from ketchup_cli.store.trial import try_folder

EXAMPLES = tiny.make_examples(4)


@pytest.fixture(scope="module")
def policy() -> Policy:
    """A model of random weights."""
    return tiny.make_policy("t5")


def test_equal_speech_passes_every_check_of_ids(policy: Policy) -> None:
    spoken = speech_of(policy)
    checks = [
        check(spoken, spoken)
        for check in (
            tokens.tokenizers,
            tokens.end_token,
            tokens.decoder_start,
            tokens.bos_and_pad,
        )
    ]

    assert [check.status for check in checks] == ["pass"] * 4
    assert (
        ", ".join(filter(None, (check.brief for check in checks))) == "tokenizers equal, eos 1 = 1"
    )


def test_another_merge_is_named_with_its_place() -> None:
    one, other = tiny.make_policy("gpt2").tokenizer, tiny.make_policy("gpt2").tokenizer
    described = other.backend_tokenizer.to_str()
    table = json.loads(described)
    table["model"]["merges"][3], table["model"]["merges"][4] = (
        table["model"]["merges"][4],
        table["model"]["merges"][3],
    )
    other._tokenizer = Tokenizer.from_str(json.dumps(table))

    found = difference(one, other)

    assert found.ids == 0
    assert found.first.startswith("the same tokens, but another model: merges, entry 3 is")


def test_an_end_the_model_does_not_generate_to_is_a_warning(policy: Policy) -> None:
    spoken = speech_of(policy)
    found = tokens.end_token(replace(spoken, ends=(5,)), spoken)

    assert found.status == "warn"
    assert "generation_config.json with 5" in found.evidence[0]


def test_a_model_without_an_end_token_fails(policy: Policy) -> None:
    spoken = speech_of(policy)

    assert tokens.end_token(spoken, replace(spoken, eos=None)).status == "fail"


def test_other_starts_and_other_pads_are_warnings(policy: Policy) -> None:
    spoken = speech_of(policy)

    start = tokens.decoder_start(spoken, replace(spoken, start=5))
    pad = tokens.bos_and_pad(spoken, replace(spoken, pad=5))

    assert (start.status, pad.status) == ("warn", "warn")
    assert "0 '<pad>'" in start.evidence[0]
    assert "in the student" in pad.evidence[0]


def test_padded_rows_of_the_student_alone_do_no_harm(policy: Policy) -> None:
    wider = tiny.make_policy("t5", seed=1)
    wider.model.resize_token_embeddings(wider.vocabulary + 6)

    found = vocabulary.rows(policy, wider, None)

    assert found.status == "pass"
    assert "the student's 6 more are dropped" in found.evidence[0]


def test_padded_rows_without_probability_pass(policy: Policy) -> None:
    wider = tiny.make_policy("t5")
    wider.model.resize_token_embeddings(wider.vocabulary + 6)
    # what training does to rows that no text needs
    hook = wider.model.get_output_embeddings().register_forward_hook(
        lambda _part, _given, out: out - 50.0 * (torch.arange(out.shape[-1]) >= wider.vocabulary)
    )
    batch = batch_of(wider, reference_rows(wider, EXAMPLES, SHORT).rows)
    found = vocabulary.rows(wider, policy, batch)
    hook.remove()

    assert found.status == "pass"
    assert found.figures["padded_mass"] < 1e-10


def test_the_rendered_prompt_is_shown_with_its_special_tokens(policy: Policy) -> None:
    found = template(policy, policy, EXAMPLES, known=Templates(shown="{src}", plain="{prompt}"))

    assert found.status == "pass"
    assert f"{EXAMPLES[0].prompt}</s>" in found.evidence[0]
    assert found.brief == 'template "{src}" on both'


def test_a_teacher_trained_on_another_template_is_found(policy: Policy) -> None:
    known = Templates(
        shown="{src}",
        plain="{prompt}",
        trained={"teacher": ("old-corpus", "translate: {prompt}")},
    )
    found = template(policy, policy, EXAMPLES, known=known)

    assert found.status == "fail"
    assert 'trained on `old-corpus`, whose template is "translate: {prompt}"' in found.evidence[-1]


def test_a_chat_template_that_prompts_do_not_use_is_a_warning() -> None:
    chatty = tiny.make_policy("gpt2")
    chatty.tokenizer.chat_template = "{% for m in messages %}Q: {{ m.content }} A:{% endfor %}"

    found = template(chatty, chatty, EXAMPLES, known=Templates())

    assert found.status == "warn"
    assert "'Q: … A:'" in found.evidence[-1]


def test_the_template_a_model_was_trained_with_is_found_through_the_store(tmp_path: Path) -> None:
    store, rows = Store.open(tmp_path / "store"), tmp_path / "train.jsonl"
    rows.write_text("".join(f'{{"src": "{e.prompt}", "tgt": "x"}}\n' for e in EXAMPLES))
    spec = CorpusSpec(template="translate: {prompt}", prompt_field="src", reference_field="tgt")
    corpus = tiny.run_stage(store, "corpus", spec, {"train": file_input(rows, "train")})
    new = NewModelSpec(
        layers=2, width=32, heads=2, inner=48, tokenizer=TokenizerSpec(vocabulary=40)
    )
    model = tiny.run_stage(store, "new-model", new, {"corpus": as_input(corpus, "corpus")})
    teacher = as_input(model, "teacher")
    small = tiny.run_stage(store, "shrink", ShrinkSpec(encoder=1), {"teacher": teacher})

    ((label, folder),) = training_corpora(small.path)

    assert folder == corpus.path
    assert label == corpus.id[:8]
    assert template_of(folder) == "translate: {src}"
    assert plain_template(folder) == "translate: {prompt}"
    assert template_of(tmp_path) is None


def test_a_plan_that_does_not_fit_fails_with_the_bytes_that_are_missing(tmp_path: Path) -> None:
    huge = {"everything": 10**18}

    disk, memory = machine.disk(tmp_path, huge), machine.memory(huge, kind="cpu")

    assert (disk.status, memory.status) == ("fail", "fail")
    assert "everything 1000000.0 TB" in disk.evidence[0]
    assert machine.disk(tmp_path / "not" / "there", {}).status == "pass"


def test_memory_that_is_barely_there_is_a_warning() -> None:
    free = machine.free_memory("cpu")

    assert machine.memory({"all": int(free * 0.9)}, kind="cpu").status == "warn"
    assert machine.memory({"all": int(free * 0.7)}, kind="cpu").status == "pass"
    # where no plan was held against a run, it needs more room
    assert machine.memory({"all": int(free * 0.7)}, kind="mps").status == "warn"


def test_a_device_that_is_not_there_fails() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    assert machine.device("cuda").status == "fail"
    assert machine.device("cpu").status == "pass"


def test_a_file_system_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    assert try_folder(tmp_path) == {"flock": "", "fsync": "", "rename": ""}
    assert list(tmp_path.iterdir()) == []
    assert machine.file_system(tmp_path).status == "pass"


def test_figures_that_json_cannot_hold_are_text() -> None:
    check = passed("a", "b", figures={"x": math.inf, "y": 1.0})

    assert check.figures == {"x": "inf", "y": 1.0}
    assert counts([check, not_checked("c", "d")]) == {
        "pass": 1,
        "warn": 0,
        "fail": 0,
        "not checked": 1,
    }
