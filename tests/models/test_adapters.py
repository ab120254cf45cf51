import hashlib
import importlib.util
from collections.abc import Mapping

import pytest
import runs
import tiny
import torch

from ketchup_cli.errors import ModelError
from ketchup_cli.models import adapters
from ketchup_cli.models.adapters import Adapter, HeadAdapter, HeadNetwork, LiveStates, attach
from ketchup_cli.models.policy import Policy
from ketchup_cli.signals import Batch, TeacherPart

KINDS = ("lora", "head", "full")
every_kind = pytest.mark.parametrize("kind", KINDS)
every_family = pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)


def part(kind: str, *, rank: int = 4) -> TeacherPart:
    return TeacherPart(kind=kind, rank=rank, rate=1.0)  # type: ignore[arg-type]


def adapted(kind: str, architecture: str = "t5") -> tuple[Policy, Adapter]:
    policy = tiny.make_policy(architecture)
    return policy, attach(policy, part(kind), seed=7)


def plain_logits(policy: Policy, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return policy.head(policy.hidden(batch))


def real(logits_BTV: torch.Tensor, batch: Batch) -> torch.Tensor:
    return logits_BTV.detach()[batch.mask_BT.bool()]


def disturb(adapter: Adapter) -> None:
    """Change what learns, as updates would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in adapter.module.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn(weight.shape, generator=generator))


def digests(weights: Mapping[str, torch.Tensor]) -> dict[str, str]:
    return {
        name: hashlib.sha256(weight.detach().numpy().tobytes()).hexdigest()
        for name, weight in weights.items()
    }


def frozen_of(policy: Policy, adapter: Adapter) -> dict[str, str]:
    learning = {id(weight) for weight in adapter.module.parameters() if weight.requires_grad}
    named = dict(policy.model.named_parameters())
    return digests({name: w for name, w in named.items() if id(w) not in learning})


@every_family
@every_kind
def test_a_new_part_leaves_the_logits_as_they_were_to_the_bit(kind: str, architecture: str) -> None:
    policy = tiny.make_policy(architecture)
    batch = runs.make_batch(policy, range(4))
    before = real(plain_logits(policy, batch), batch)

    adapter = attach(policy, part(kind), seed=7)
    # a forward pass that keeps what a gradient needs may take other kernels
    with torch.no_grad():
        after = real(adapter.logits(batch), batch)

    assert torch.equal(after, before)


@every_family
@pytest.mark.parametrize("kind", ["lora", "head"])
def test_a_part_that_has_learnt_changes_the_logits(kind: str, architecture: str) -> None:
    policy, adapter = adapted(kind, architecture)
    batch = runs.make_batch(policy, range(4))
    before = real(adapter.logits(batch), batch)

    disturb(adapter)

    assert not torch.allclose(real(adapter.logits(batch), batch), before, atol=1e-4)


@every_family
@pytest.mark.parametrize("kind", ["lora", "head"])
def test_updates_leave_the_frozen_weights_as_they_were(kind: str, architecture: str) -> None:
    policy, adapter = adapted(kind, architecture)
    batch = runs.make_batch(policy, range(4))
    before = frozen_of(policy, adapter)
    # every weight of the model is handed over: the flags alone must keep them out
    weights = {*policy.model.parameters(), *adapter.module.parameters()}
    optimizer = torch.optim.AdamW(weights, lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        adapter.logits(batch).square().mean().backward()
        optimizer.step()

    assert len(before) > 10
    assert frozen_of(policy, adapter) == before


@pytest.mark.parametrize("kind", ["lora", "head"])
def test_only_weights_of_the_part_ask_for_a_gradient(kind: str) -> None:
    policy, adapter = adapted(kind)

    asking = {name for name, w in policy.model.named_parameters() if w.requires_grad}

    assert {name for name in asking if ".lora_" not in name} == set()
    assert bool(asking) == (kind == "lora")
    assert adapter.size() > 0


@every_kind
def test_all_that_learns_gets_a_gradient(kind: str) -> None:
    policy, adapter = adapted(kind)
    disturb(adapter)

    adapter.logits(runs.make_batch(policy, range(4))).square().mean().backward()

    learning = [w for w in adapter.module.parameters() if w.requires_grad]
    assert learning
    assert [w for w in learning if w.grad is None or not w.grad.any()] == []


@every_kind
def test_the_teacher_as_it_came_can_be_asked_at_any_time(kind: str) -> None:
    policy, adapter = adapted(kind)
    batch = runs.make_batch(policy, range(4))
    before = plain_logits(policy, batch)
    disturb(adapter)
    learnt = real(adapter.logits(batch), batch)

    with adapter.plain():
        inside = plain_logits(policy, batch)

    assert torch.equal(inside, before)
    assert torch.equal(real(adapter.logits(batch), batch), learnt)


@every_kind
def test_asking_the_teacher_as_it_came_keeps_what_learns_learning(kind: str) -> None:
    policy, adapter = adapted(kind)
    size = adapter.size()
    with adapter.plain():
        plain_logits(policy, runs.make_batch(policy, range(2)))

    assert adapter.size() == size


@every_kind
def test_every_module_stays_in_eval_mode(kind: str) -> None:
    policy, _ = adapted(kind)

    assert [name for name, module in policy.module.named_modules() if module.training] == []


@every_kind
def test_the_part_starts_alike_whatever_was_drawn_before(kind: str) -> None:
    found = []
    for seed in (0, 1):
        policy = tiny.make_policy("t5")
        torch.manual_seed(seed)
        adapter = attach(policy, part(kind), seed=7)
        learning = {n: w for n, w in adapter.module.named_parameters() if w.requires_grad}
        found.append(digests(learning))

    assert found[0] == found[1]


def test_another_seed_starts_another_part() -> None:
    one, other = (HeadNetwork(8, 5, rank=3, seed=seed) for seed in (0, 1))

    assert not torch.equal(one.down_RH, other.down_RH)


@pytest.mark.parametrize("rank", [1, 3])
def test_the_size_follows_the_rank(rank: int) -> None:
    policy = tiny.make_policy("t5")
    width, vocabulary = 32, policy.vocabulary

    size = attach(policy, part("head", rank=rank), seed=0).size()

    assert size == rank * (width + 1) + vocabulary * (rank + 1)


def test_low_rank_matrices_stand_beside_queries_and_values_of_every_layer() -> None:
    policy, _ = adapted("lora", "llama")

    names = {name.rpartition(".lora_")[0] for name, _ in policy.model.named_parameters()} - {""}

    assert names == {
        f"model.layers.{layer}.self_attn.{target}"
        for layer in (0, 1)
        for target in ("q_proj", "v_proj")
    }


def test_states_of_padding_are_never_asked_for() -> None:
    policy = tiny.make_policy("t5")
    batch = runs.make_batch(policy, range(4))

    states_NH, _ = LiveStates(policy).states(batch)

    assert len(states_NH) == int(batch.mask_BT.sum()) < batch.mask_BT.numel()


def test_a_head_adapter_needs_states_and_a_head_alone() -> None:
    class Kept:
        def states(self, batch: Batch) -> tuple[torch.Tensor, object]:
            states_NH = torch.ones(int(batch.mask_BT.sum()), 3)
            return states_NH, lambda x: x @ torch.ones(3, 5)

    batch = runs.make_batch(tiny.make_policy("t5"), range(3))
    adapter = HeadAdapter(Kept(), HeadNetwork(3, 5, rank=2, seed=0))  # type: ignore[arg-type]

    logits_BTV = adapter.logits(batch)

    assert real(logits_BTV, batch).unique().tolist() == [3.0]
    assert logits_BTV[~batch.mask_BT.bool()].abs().max().item() == 0


def test_a_missing_peft_is_named_with_two_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(ModelError, match="`peft`") as caught:
        adapters.check_part(part("lora"))

    assert "ketchup-kd[lora]" in (caught.value.hint or "")
    assert "module=head" in (caught.value.hint or "")


def test_a_model_without_known_names_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "TARGETS", (("nobody",),))

    with pytest.raises(ModelError, match="no attention layers of a known name"):
        attach(tiny.make_policy("t5"), part("lora"), seed=0)


def test_positions_that_no_folder_keeps_do_not_learn() -> None:
    policy, _ = adapted("full", "marian")

    frozen = {name for name, w in policy.model.named_parameters() if not w.requires_grad}

    assert frozen == {f"model.{side}.embed_positions.weight" for side in ("encoder", "decoder")}
