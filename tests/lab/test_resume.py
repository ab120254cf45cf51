from dataclasses import fields
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor

from ketchup_cli.lab.moments import Moments
from ketchup_cli.lab.resume import Kept
from ketchup_cli.models.encode import Limits, encode_prompts
from ketchup_cli.models.generation.choosing import Sampling
from ketchup_cli.models.generation.hf import Samples, sample
from ketchup_cli.signals import Batch

BATCHES, GROUPS, WEIGHTS = 7, 3, 5
LABELS = ("one", "other")


def gradient(label: str, number: int) -> Tensor:
    generator = torch.Generator().manual_seed(2 * number + LABELS.index(label))
    return torch.randn(WEIGHTS, generator=generator)


def fresh() -> dict[str, Moments]:
    return {label: Moments(GROUPS, torch.zeros(WEIGHTS)) for label in LABELS}


def count(moments: dict[str, Moments], kept: Kept, *, batches: int = BATCHES) -> list[int]:
    """Count what is not counted yet, keep it, and return the numbers of the batches."""
    counted = []
    for number in range(batches):
        if moments["one"].counted:
            for own in moments.values():
                own.skip()
            continue
        for label, own in moments.items():
            own.add(gradient(label, number), gradient("one", number))
        kept.put_group(number % GROUPS, moments)
        counted.append(number)
    return counted


def same(one: dict[str, Moments], other: dict[str, Moments]) -> bool:
    return all(
        torch.equal(mine, yours)
        for label in LABELS
        for group in range(GROUPS)
        for mine, yours in zip(one[label].group(group), other[label].group(group), strict=True)
    )


@pytest.mark.parametrize("before", [0, 1, 3, 5, BATCHES])
def test_sums_that_were_kept_are_gone_on_with_to_the_last_bit(before: int, tmp_path: Path) -> None:
    straight, killed, resumed = fresh(), fresh(), fresh()
    count(straight, Kept(tmp_path / "straight"))
    kept = Kept(tmp_path / "killed")
    count(killed, kept, batches=before)

    kept.restore(resumed, groups=GROUPS)
    counted = count(resumed, kept)

    assert counted == list(range(before, BATCHES))
    assert same(resumed, straight)


def test_the_batches_of_a_damaged_group_are_counted_again(tmp_path: Path) -> None:
    straight, resumed = fresh(), fresh()
    kept = Kept(tmp_path)
    count(straight, kept)
    (file,) = tmp_path.glob("group-000001-*")
    file.write_bytes(file.read_bytes()[:-1])

    kept.restore(resumed, groups=GROUPS)
    counted = count(resumed, kept)

    assert counted == [1, 4]
    assert same(resumed, straight)


def drawn() -> Samples:
    policy = tiny.make_policy("t5")
    rows = encode_prompts(policy, tiny.make_examples(3), Limits(prompt=64)).rows
    return sample(policy, rows, Sampling(samples=2, max_new_tokens=5), seed=0)


def test_samples_come_back_as_they_were(tmp_path: Path) -> None:
    kept, samples = Kept(tmp_path), drawn()
    kept.put_samples(4, samples)
    found = kept.samples(4, device="cpu")

    assert found is not None
    assert torch.equal(found.finished_B, samples.finished_B)
    for entry in fields(Batch):
        mine, yours = (getattr(x.batch, entry.name) for x in (found, samples))
        assert torch.equal(mine, yours) if isinstance(mine, Tensor) else mine == yours


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_samples_that_are_not_what_was_written_are_not_believed(
    damage: str, tmp_path: Path
) -> None:
    kept = Kept(tmp_path)
    kept.put_samples(0, drawn())
    (file,) = tmp_path.iterdir()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1] + b"x")

    assert kept.samples(0, device="cpu") is None
