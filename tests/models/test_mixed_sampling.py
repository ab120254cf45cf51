"""Samples of which every token is drawn from a mixture of student and teacher."""

import pytest
import tiny
import torch
from torch import Tensor
from writers import LENGTH, bias_for_end, eager, prompts, rows_of

from ketchup_cli import functional as F
from ketchup_cli.errors import SpecError
from ketchup_cli.models.encode import Row
from ketchup_cli.models.generation.choosing import uniforms
from ketchup_cli.models.generation.hf import Sampling, sample
from ketchup_cli.models.generation.mixing import Guide
from ketchup_cli.models.generation.rounds import read, writing
from ketchup_cli.models.policy import Policy
from ketchup_cli.signals import Batch

SHARE = 0.4


def pair(architecture: str) -> tuple[Policy, Policy]:
    """A student and a teacher of other weights and more layers, that both end now and then."""
    teacher = tiny.make_policy(architecture, layers=3, seed=5)
    with torch.no_grad():
        teacher.model.get_input_embeddings().weight.mul_(4 if architecture != "t5" else 1)
    bias_for_end(teacher, share=0.2)
    return eager(architecture), teacher


def mixed(count: int = 2, share: float = SHARE, **changes: float) -> Sampling:
    return Sampling(samples=count, max_new_tokens=LENGTH, teacher_share=share, **changes)  # type: ignore[arg-type]


def after(policy: Policy, row: Row, found: list[int]) -> Tensor:
    """Return the logits after a prefix, the whole of it read anew."""
    prompt_BS = torch.tensor([row.prompt])
    tokens_BT = torch.tensor([[*found, policy.pad_id]])
    with torch.no_grad():
        logits_BTV = policy.module(
            prompt_BS,
            torch.ones_like(prompt_BS),
            tokens_BT,
            torch.ones_like(tokens_BT),
            logits=True,
        )
    logits_BV: Tensor = logits_BTV[:, -1]
    return logits_BV


def follow(student: Policy, teacher: Policy, row: Row, numbers: Tensor) -> list[int]:
    """Write one text slowly from the mixture: no cache, no batch."""
    found: list[int] = []
    for number in numbers:
        q_BV, p_BV = (after(policy, row, found).softmax(dim=-1) for policy in (student, teacher))
        mixture_BV = (SHARE * p_BV + (1 - SHARE) * q_BV).log()
        found.append(int(F.choose_by_inverse_cdf(mixture_BV, number[None])))
        if found[-1] == student.eos_id:
            break
    return found


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_mixed_sample_follows_its_random_numbers_step_by_step(
    architecture: str, count: int
) -> None:
    student, teacher = pair(architecture)
    rows = prompts(student, 3)
    found = rows_of(sample(student, rows, mixed(count), seed=1, teacher=teacher))
    keys = [(row.id, index) for row in rows for index in range(count)]
    numbers = iter(uniforms(1, keys, steps=LENGTH))

    assert found == {
        row.id: [follow(student, teacher, row, next(numbers)) for _ in range(count)] for row in rows
    }
    assert len({len(text) for texts in found.values() for text in texts}) > 1


def forced(policy: Policy, batch: Batch) -> Tensor:
    with torch.no_grad():
        return F.log_probs_of(policy.logits(batch), batch.tokens_BT)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_behaviour_log_probs_are_those_of_the_mixture(architecture: str) -> None:
    student, teacher = pair(architecture)
    batch = sample(student, prompts(student), mixed(), seed=1, teacher=teacher).batch
    mixture_BT = SHARE * forced(teacher, batch).exp() + (1 - SHARE) * forced(student, batch).exp()

    assert batch.behaviour_logp_BT is not None
    torch.testing.assert_close(
        batch.behaviour_logp_BT, mixture_BT.log() * batch.mask_BT, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_a_mixed_sample_does_not_depend_on_its_batch(architecture: str) -> None:
    student, teacher = pair(architecture)
    rows = prompts(student)
    together = rows_of(sample(student, rows, mixed(), seed=1, teacher=teacher))
    alone = [
        rows_of(sample(student, [row], mixed(), seed=1, teacher=teacher)) for row in reversed(rows)
    ]

    assert {name: found for part in alone for name, found in part.items()} == together


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_a_share_of_nothing_leaves_the_student_s_samples(architecture: str) -> None:
    student, teacher = pair(architecture)
    rows = prompts(student)

    found = rows_of(sample(student, rows, mixed(share=0.0), seed=1, teacher=teacher))
    assert found == rows_of(sample(student, rows, mixed(share=0.0), seed=1))


@pytest.mark.parametrize("architecture", tiny.FAMILIES)
def test_a_share_of_all_gives_the_teacher_s_samples(architecture: str) -> None:
    student, teacher = pair(architecture)
    rows = prompts(student)

    found = rows_of(sample(student, rows, mixed(share=1.0), seed=1, teacher=teacher))
    assert found == rows_of(sample(teacher, rows, mixed(share=0.0), seed=1))


def test_settings_of_sampling_bend_the_mixture() -> None:
    student, teacher = pair("t5")
    row = prompts(student, 1)[0]
    batch = sample(student, [row], mixed(40, top_k=2), seed=1, teacher=teacher).batch
    mixture_V = F.log_mixture(after(teacher, row, []), after(student, row, []), share=SHARE)[0]

    assert set(batch.tokens_BT[:, 0].tolist()) == set(mixture_V.topk(2).indices.tolist())


def test_neither_model_drops_out_while_they_write_and_both_modes_are_restored() -> None:
    student, teacher = pair("t5")
    expected = rows_of(sample(student, prompts(student), mixed(), seed=1, teacher=teacher))
    for policy in (student, teacher):
        for module in policy.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.5
        policy.module.train()

    found = rows_of(sample(student, prompts(student), mixed(), seed=1, teacher=teacher))
    assert found == expected
    assert student.module.training
    assert teacher.module.training


def test_rows_the_teacher_was_padded_with_have_no_share() -> None:
    student, teacher = eager("t5"), tiny.make_policy("t5", seed=5)
    expected = rows_of(sample(student, prompts(student), mixed(), seed=1, teacher=teacher))
    teacher.model.resize_token_embeddings(teacher.vocabulary + 16)
    with torch.no_grad():
        teacher.model.get_output_embeddings().weight[teacher.vocabulary :] += 20

    assert rows_of(sample(student, prompts(student), mixed(), seed=1, teacher=teacher)) == expected


def guided(teacher: Policy) -> tuple[Guide, Tensor]:
    """Return a guide of two rows that has read one token of each, and what was read."""
    front = read(teacher, [row.prompt for row in prompts(teacher, 2)], copies=1)
    guide = Guide(teacher, front, share=1.0)
    start_BT = torch.full((2, 1), teacher.start_id)
    guide.mix(start_BT, torch.zeros(2, teacher.vocabulary))
    return guide, torch.cat([start_BT, torch.tensor([[7], [8]])], dim=1)


def test_a_step_taken_twice_is_read_once() -> None:
    _, teacher = pair("t5")
    logits_BV = torch.zeros(2, teacher.vocabulary)
    with writing(teacher):
        guide, read_BT = guided(teacher)
        once_BV, again_BV = (guide.mix(read_BT, logits_BV) for _ in range(2))

    assert torch.equal(once_BV, again_BV)


def test_a_step_taken_twice_is_that_of_the_rows_that_go_on() -> None:
    _, teacher = pair("t5")
    logits_BV = torch.zeros(2, teacher.vocabulary)
    with writing(teacher):
        guide, read_BT = guided(teacher)
        both_BV = guide.mix(read_BT, logits_BV)
        guide.leave(torch.tensor([True, False]))
        left_BV = guide.mix(read_BT[1:], logits_BV[1:])

    assert torch.equal(left_BV, both_BV[1:])


def test_a_teacher_of_too_few_positions_is_refused() -> None:
    student, teacher = pair("gpt2")
    student.model.config.max_position_embeddings = 500
    long = Sampling(max_new_tokens=100, teacher_share=SHARE)

    with pytest.raises(SpecError, match="do not fit the 64 positions"):
        sample(student, prompts(student), long, seed=1, teacher=teacher)


def test_a_share_without_a_teacher_is_refused() -> None:
    student = eager("t5")

    with pytest.raises(SpecError, match=r"a share of 0.4 is the teacher's"):
        sample(student, prompts(student), mixed(), seed=1)
