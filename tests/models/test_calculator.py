"""A calculator beside a policy: what it puts, what it leaves, and that nothing else moves."""

import functools
import itertools
from dataclasses import replace

import calculating
import pytest
import tiny
import torch
from calculating import LENGTH, chained, prompts

from ketchup_cli import functional as F
from ketchup_cli.errors import SpecError
from ketchup_cli.models.generation.arithmetic import OPEN, answer, outcomes
from ketchup_cli.models.generation.calculator import Calculator
from ketchup_cli.models.generation.drawing import draw_rollouts
from ketchup_cli.models.generation.hf import Sampling, generate, sample
from ketchup_cli.models.policy import Policy
from ketchup_cli.signals import Batch
from ketchup_cli.specs import DecodingSpec

PLAIN = Sampling(samples=3, max_new_tokens=LENGTH)
COUNTING = replace(PLAIN, calculator=True)
every_family = pytest.mark.parametrize("architecture", tiny.FAMILIES)
every_architecture = pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)


def ids_of(policy: Policy, text: str) -> list[int]:
    return [token for token in policy.completion_ids([text])[0] if token != policy.eos_id]


def completed(policy: Policy, text: str) -> str:
    """Return the text after the calculator has put all it puts."""
    calculator, ids = Calculator(policy), ids_of(policy, text)
    while (token := calculator.after(ids)) is not None:
        ids.append(token)
    return policy.decode([ids])[0]


COMPLETED = {
    "now <<95*7=": "now <<95*7=665>>",
    "<<95*7=6": "<<95*7=665>>",
    "<<95*7=665": "<<95*7=665>>",
    "<<95*7=665>": "<<95*7=665>>",
    "<<(1.5 + 2) * 2 =": "<<(1.5 + 2) * 2 =7>>",
    "<<1/3=": "<<1/3=0.3333333333>>",
    "<<8-9=": "<<8-9=-1>>",
    "<<95*7=7": "<<95*7=7",
    "<<95*7": "<<95*7",
    "95*7=": "95*7=",
    "<<now=": "<<now=",
    "<<1/0=": "<<1/0=",
    "<<1=1>> <<2*3=": "<<1=1>> <<2*3=6>>",
}


@every_architecture
@pytest.mark.parametrize(("text", "whole"), COMPLETED.items(), ids=COMPLETED)
def test_what_was_begun_is_completed_in_any_tokenizer(
    architecture: str, text: str, whole: str
) -> None:
    assert completed(chained(architecture), text) == whole


def test_a_token_that_is_none_of_the_text_opens_nothing() -> None:
    policy = chained("t5")
    ids = ids_of(policy, "<<9*9=")
    unknown = [*ids[:-1], policy.tokenizer.unk_token_id, ids[-1]]

    assert policy.decode([unknown]) == policy.decode([ids])
    assert Calculator(policy).after(unknown) is None


def test_a_tokenizer_without_the_signs_is_refused() -> None:
    with pytest.raises(SpecError, match="cannot write `<<") as caught:
        Calculator(tiny.make_policy("t5"))

    assert "leave the calculator out" in str(caught.value.hint)


@functools.cache
def sampled(policy: Policy, sampling: Sampling = COUNTING) -> Batch:
    return sample(policy, prompts(policy), sampling, seed=1).batch


def texts_of(policy: Policy, batch: Batch) -> list[str]:
    return policy.decode([
        row[:size]
        for row, size in zip(
            batch.tokens_BT.tolist(), batch.mask_BT.sum(dim=1).int().tolist(), strict=True
        )
    ])


@every_family
def test_every_sum_of_a_sample_has_its_result(architecture: str) -> None:
    policy = chained(architecture)
    found = [end for text in texts_of(policy, sampled(policy)) for end in outcomes(text)]

    assert set(found) <= {"completed", "unfinished"}
    assert found.count("completed") > 5


@every_family
def test_a_model_left_alone_gets_sums_wrong(architecture: str) -> None:
    policy = chained(architecture)
    texts = texts_of(policy, sampled(policy, PLAIN))

    assert any("begun otherwise" in outcomes(text) for text in texts)


@every_family
def test_forced_tokens_are_those_of_results_and_certain(architecture: str) -> None:
    policy = chained(architecture)
    batch = sampled(policy)
    assert batch.forced_BT is not None
    assert batch.behaviour_logp_BT is not None
    for ids, forced in zip(batch.tokens_BT.tolist(), batch.forced_BT.tolist(), strict=True):
        runs = [
            (put, policy.decode([[ids[place] for place, _ in run]])[0])
            for put, run in itertools.groupby(enumerate(forced), key=lambda item: item[1])
        ]
        for (_, before), (put, text) in itertools.pairwise(runs):
            expression = before.rpartition(OPEN)[2].removesuffix("=")
            assert not put or (answer(expression).text + ">>").startswith(text)

    assert bool(batch.forced_BT.any())
    assert bool((batch.behaviour_logp_BT[batch.forced_BT] == 0).all())
    assert not bool((batch.forced_BT & (batch.mask_BT == 0)).any())


@every_family
def test_tokens_of_its_own_have_the_log_prob_of_teacher_forcing(architecture: str) -> None:
    policy = chained(architecture)
    batch = sampled(policy)
    assert batch.forced_BT is not None
    own_BT = batch.mask_BT.bool() & ~batch.forced_BT
    with torch.no_grad():
        logp_BT = F.log_probs_of(policy.logits(batch), batch.tokens_BT)

    assert batch.behaviour_logp_BT is not None
    torch.testing.assert_close(batch.behaviour_logp_BT[own_BT], logp_BT[own_BT], atol=1e-4, rtol=0)


@every_family
def test_a_sample_with_a_calculator_does_not_depend_on_its_batch(architecture: str) -> None:
    policy = chained(architecture)
    together = texts_of(policy, sampled(policy))
    few = [sample(policy, [row], COUNTING, seed=1).batch for row in prompts(policy)[::3]]
    alone = [text for batch in few for text in texts_of(policy, batch)]

    assert alone == together[:3] + together[-3:]


@every_family
def test_a_sample_is_the_same_up_to_its_first_result(architecture: str) -> None:
    policy = chained(architecture)
    plain, counting = sampled(policy, PLAIN), sampled(policy)
    assert counting.forced_BT is not None
    firsts = [
        row.index(True) if True in row else size
        for row, size in zip(
            counting.forced_BT.tolist(), counting.mask_BT.sum(dim=1).int().tolist(), strict=True
        )
    ]

    assert min(firsts) < LENGTH
    assert [row[:n] for row, n in zip(plain.tokens_BT.tolist(), firsts, strict=True)] == [
        row[:n] for row, n in zip(counting.tokens_BT.tolist(), firsts, strict=True)
    ]


def test_a_calculator_with_nothing_to_do_changes_nothing() -> None:
    policy = tiny.make_policy("gpt2")
    plain, counting = sampled(policy, PLAIN), sampled(policy)

    assert counting.forced_BT is not None
    assert not bool(counting.forced_BT.any())
    assert torch.equal(plain.tokens_BT, counting.tokens_BT)


@every_family
def test_a_teacher_that_reads_along_reads_the_results(architecture: str) -> None:
    policy = chained(architecture)
    mixed = replace(COUNTING, teacher_share=0.5)
    batch = sample(policy, prompts(policy), mixed, seed=1, teacher=policy).batch

    # a mixture of a model with itself is the model, so a guide out of step would show
    assert texts_of(policy, batch) == texts_of(policy, sampled(policy))


@pytest.mark.parametrize("method", ["greedy", "beam", "sample"])
@every_family
def test_generated_text_has_its_results_and_only_counts_its_own_tokens(
    architecture: str, method: str
) -> None:
    policy = chained(architecture)
    rows = prompts(policy, 2)
    decoding = DecodingSpec(method=method, beams=3, max_new_tokens=LENGTH, calculator=True)
    found = generate(policy, rows, decoding, seed=3, tokens_per_batch=4000)
    calculator = Calculator(policy)
    for row, item in zip(rows, found, strict=True):
        ids, tokens_BT = torch.tensor([row.prompt]), torch.tensor([item.tokens])
        with torch.no_grad():
            logits_BTV = policy.module(
                ids, torch.ones_like(ids), tokens_BT, torch.ones_like(tokens_BT), logits=True
            )
        own_BT = ~torch.tensor([calculator.put(item.tokens)])
        logp = float(F.log_probs_of(logits_BTV, tokens_BT)[own_BT].sum())

        assert item.logp == pytest.approx(logp, abs=1e-3)
        assert set(outcomes(item.text)) <= {"completed", "unfinished"}
        assert "completed" in outcomes(item.text)


@every_family
def test_an_n_best_list_holds_no_text_with_another_result(architecture: str) -> None:
    policy = chained(architecture)
    decoding = DecodingSpec(method="beam", beams=4, texts=4, max_new_tokens=14, calculator=True)
    found = generate(policy, prompts(policy, 2), decoding, seed=0, tokens_per_batch=4000)
    ends = {end for item in found for end in outcomes(item.text)}

    assert ends <= {"completed", "unfinished"}


def test_a_result_may_be_cut_by_the_limit() -> None:
    policy = chained("gpt2")
    sizes = {
        len(item.tokens)
        for item in generate(
            policy,
            prompts(policy),
            DecodingSpec(max_new_tokens=5, calculator=True),
            seed=0,
            tokens_per_batch=4000,
        )
    }

    assert sizes == {5}


def test_rows_of_rollouts_say_which_tokens_were_put() -> None:
    policy = chained("t5")
    decoding = DecodingSpec(method="sample", texts=2, max_new_tokens=LENGTH, calculator=True)
    rows = draw_rollouts(policy, prompts(policy), decoding, seed=0, tokens_per_batch=4000)
    calculator = Calculator(policy)

    assert any(row.put for row in rows)
    assert [row.put for row in rows] == [
        tuple(place for place, put in enumerate(calculator.put(row.tokens)) if put) for row in rows
    ]
    assert {row.logps[place] for row in rows for place in row.put} == {0.0}


def test_rows_drawn_without_a_calculator_do_not_mention_it() -> None:
    import msgspec

    policy = chained("t5")
    decoding = DecodingSpec(method="sample", max_new_tokens=4)
    (row,) = draw_rollouts(policy, prompts(policy, 1), decoding, seed=0, tokens_per_batch=4000)

    assert "forced" not in msgspec.to_builtins(row)
    assert row.put == ()


def test_text_written_all_at_once_has_no_calculator() -> None:
    policy = tiny.make_policy("cmlm", examples=calculating.make_examples())
    decoding = DecodingSpec(method="mask-predict", calculator=True)
    with pytest.raises(SpecError, match="mask-predict writes all tokens at once"):
        generate(policy, prompts(policy, 1), decoding, seed=0, tokens_per_batch=4000)
