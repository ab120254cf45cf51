import itertools
from dataclasses import replace

import pytest
import runs
import tiny
import torch

from ketchup_cli.errors import ModelError
from ketchup_cli.models.generation.hf import Samples
from ketchup_cli.models.policy import Policy
from ketchup_cli.signals import Batch
from ketchup_cli.specs import RolloutSpec
from ketchup_cli.train.rollouts import RolloutSource, without_unfinished


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny.make_policy("t5")


def make_samples(finished: list[bool]) -> Samples:
    lengths = torch.tensor([2, 5, 3, 1][: len(finished)])
    shape = (len(finished), 5)
    mask_BT = (torch.arange(5) < lengths[:, None]).float()
    tokens_BT = torch.arange(shape[0] * 5).view(shape) * mask_BT.long()
    batch = Batch(
        ids=tuple("aabb"[: len(finished)]),
        prompt_BS=torch.arange(shape[0])[:, None],
        prompt_mask_BS=torch.ones(shape[0], 1, dtype=torch.long),
        tokens_BT=tokens_BT,
        mask_BT=mask_BT,
        source="student",
        behaviour_logp_BT=-tokens_BT.float(),
        group_B=torch.tensor([0, 0, 1, 1][: len(finished)]),
        rows=tuple(range(len(finished))),
    )
    return Samples(batch=batch, finished_B=torch.tensor(finished))


def rollouts(policy: Policy, count: int, *, first: int = 0, **changes: object) -> list[Batch]:
    settings = {"prompts": 8, "samples": 2, "max_new_tokens": 6, "unfinished": "terminal"}
    rollout = RolloutSpec(**(settings | changes))
    source = runs.make_sources(policy, ["student"], runs.make_spec(), rollout)["student"]
    assert isinstance(source, RolloutSource)
    return list(itertools.islice(source.batches(first, 1), count))


def texts(batches: list[Batch]) -> dict[str, list[tuple[int, ...]]]:
    found: dict[str, list[tuple[int, ...]]] = {}
    for batch in batches:
        sizes = batch.mask_BT.sum(dim=1).int().tolist()
        for name, ids, size in zip(batch.ids, batch.tokens_BT.tolist(), sizes, strict=True):
            found.setdefault(name, []).append(tuple(ids[:size]))
    return found


def test_completions_that_were_cut_are_left_out_and_counted() -> None:
    batch = without_unfinished(make_samples([True, False, True, False]), keep=False)

    assert batch.ids == ("a", "b")
    assert batch.rows == (0, 2)
    assert batch.finished == 0.5
    assert batch.mask_BT.sum(dim=1).tolist() == [2.0, 3.0]


def test_every_tensor_of_the_rows_that_are_left_is_theirs() -> None:
    samples = make_samples([True, False, True, False])
    batch = without_unfinished(samples, keep=False)

    assert batch.tokens_BT.tolist() == [[0, 1, 0], [10, 11, 12]]
    assert batch.behaviour_logp_BT is not None
    assert batch.behaviour_logp_BT.tolist() == [[0.0, -1.0, 0.0], [-10.0, -11.0, -12.0]]
    assert batch.prompt_BS.tolist() == [[0], [2]]
    assert batch.group_B is not None
    assert batch.group_B.tolist() == [0, 1]


def test_cut_completions_can_be_kept_and_are_counted_all_the_same() -> None:
    samples = make_samples([True, False, True, False])
    batch = without_unfinished(samples, keep=True)

    assert batch == replace(samples.batch, finished=0.5)


def test_where_all_ended_nothing_changes() -> None:
    samples = make_samples([True] * 4)

    assert without_unfinished(samples, keep=False) == replace(samples.batch, finished=1.0)


def test_a_batch_in_which_nothing_ended_is_an_error_with_a_remedy() -> None:
    with pytest.raises(ModelError, match="none of 4 sampled completions ended") as caught:
        without_unfinished(make_samples([False] * 4), keep=False)

    assert "rollout.max_new_tokens" in str(caught.value.hint)


def test_prompts_have_their_samples_side_by_side(policy: Policy) -> None:
    (batch,) = rollouts(policy, 1)

    assert len(batch.ids) == 16
    assert batch.ids[0::2] == batch.ids[1::2]
    assert batch.source == "student"
    assert batch.group_B is not None
    assert batch.group_B.tolist() == [number // 2 for number in range(16)]


def test_a_prompt_met_again_has_new_samples(policy: Policy) -> None:
    one, other = texts(rollouts(policy, 3)), texts(rollouts(policy, 6)[3:])

    assert one.keys() == other.keys()
    assert all(not set(one[name]) & set(other[name]) for name in one)


def test_a_resumed_run_draws_the_same_samples(policy: Policy) -> None:
    straight, resumed = rollouts(policy, 5), rollouts(policy, 2, first=3)

    assert texts(resumed) == texts(straight[3:])


def test_a_sample_does_not_depend_on_the_batch_it_is_drawn_in(policy: Policy) -> None:
    assert texts(rollouts(policy, 3)) == texts(rollouts(policy, 6, prompts=4))


def test_samples_are_drawn_from_the_weights_of_the_moment(policy: Policy) -> None:
    student = tiny.make_policy("t5")
    settings = RolloutSpec(prompts=24, samples=2, max_new_tokens=6, unfinished="terminal")
    source = runs.make_sources(student, ["student"], runs.make_spec(), settings)["student"]
    batches = source.batches(0, 1)
    before = texts([next(batches)])
    student.model.load_state_dict(tiny.make_policy("t5", seed=4).model.state_dict())
    after = texts([next(batches)])
    unchanged = texts(rollouts(policy, 2, prompts=24)[1:])

    assert before.keys() == after.keys()
    assert after != unchanged


def test_behaviour_log_probabilities_are_those_of_the_student(policy: Policy) -> None:
    from ketchup_cli import functional as F

    (batch,) = rollouts(policy, 1)
    with torch.no_grad():
        logp_BT = F.log_probs_of(policy.logits(batch), batch.tokens_BT)
    real_BT = batch.mask_BT.bool()

    assert batch.behaviour_logp_BT is not None
    torch.testing.assert_close(
        batch.behaviour_logp_BT[real_BT], logp_BT[real_BT], atol=1e-5, rtol=1e-5
    )
