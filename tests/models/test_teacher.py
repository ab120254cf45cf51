from dataclasses import replace
from pathlib import Path
from typing import Any

import caches
import pytest
import tiny
import torch
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli.errors import MismatchError
from ketchup_cli.models.cached_teacher import CachedTeacher
from ketchup_cli.models.encode import Row, collate
from ketchup_cli.models.load import load_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.reduction import spread
from ketchup_cli.models.teacher import LiveTeacher
from ketchup_cli.signals import Batch, Needs, StudentSignal, TeacherSignal

TOLERANCE = 1e-5
"""Batches of another shape add float32 numbers in another order."""

HALF_ULP = 2.0**-11
"""Largest relative error of a number rounded to float16."""

STATISTICS = ("taken_BT", "best_BT", "mean_BT", "lse_BT", "expected_BT")


def all_logits(signal: TeacherSignal, batch: Batch) -> Tensor:
    """Return what a dense teacher says, in [B, T, V]."""
    assert signal.dense is not None
    rows_NV = signal.dense.logits(slice(None))
    places_N = batch.mask_BT.flatten().nonzero()[:, 0]
    return spread(rows_NV, places_N, batch.mask_BT.shape)


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a corpus and a teacher of one family."""
    folder = tmp_path_factory.mktemp(request.param)
    tiny.make_corpus(folder / "corpus")
    tiny.make_policy_folder(folder / "teacher", request.param)
    return folder


@pytest.fixture(scope="module")
def policy(home: Path) -> Policy:
    return load_policy(home / "teacher")


@pytest.fixture(scope="module")
def rows(home: Path, policy: Policy) -> tuple[Row, ...]:
    return caches.rows_of(policy, home / "corpus")


def cached(home: Path, *, memory_bytes: int = 1 << 30, **settings: Any) -> CachedTeacher:
    """Return a cache of the home's corpus, made at the first call with these settings."""
    name = "-".join(f"{key}={value}" for key, value in sorted(settings.items()))
    store = home / f"store {name}"
    found = sorted(store.glob("objects/teacher-cache/*"))
    if not found:
        inputs = caches.inputs_of(home / "teacher", home / "corpus")
        artifact = caches.make_cache(store, inputs, examples_per_shard=7, **settings)
        found = [artifact.path]
    return CachedTeacher(found[0], name="3f9c1b2a", memory_bytes=memory_bytes)


def complete(policy: Policy, **settings: Any) -> dict[str, Any]:
    return {"top": policy.vocabulary, "temperatures": (1.0, 2.0), **settings}


def batch_of(policy: Policy, rows: tuple[Row, ...], numbers: tuple[int, ...]) -> Batch:
    return collate([rows[number] for number in numbers], pad_id=policy.pad_id, source="data")


def student_logits(batch: Batch, vocabulary: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return 2 * torch.randn(*batch.tokens_BT.shape, vocabulary, generator=generator)


def test_what_is_read_back_is_what_the_live_teacher_says(
    home: Path, policy: Policy, rows: tuple[Row, ...]
) -> None:
    batch = batch_of(policy, rows, (20, 3, 8, 4))
    teacher = cached(home, **complete(policy))

    for temperature in (1.0, 2.0):
        needs = Needs(teacher="stats", temperature=temperature)
        live, read = LiveTeacher(policy).signal(batch, needs), teacher.signal(batch, needs)
        for name in STATISTICS:
            torch.testing.assert_close(
                getattr(read, name), getattr(live, name), atol=TOLERANCE, rtol=0
            )


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("tail", ["bucket", "renormalise"])
def test_kl_from_all_entries_in_float32_is_the_live_kl(
    home: Path, policy: Policy, rows: tuple[Row, ...], temperature: float, tail: Any
) -> None:
    batch = batch_of(policy, rows, (1, 15, 9))
    q_BTV = student_logits(batch, policy.vocabulary)
    needs = Needs(teacher="top", temperature=temperature)
    mask_BT = batch.mask_BT.bool()

    live = LiveTeacher(policy).signal(batch, needs)
    read = cached(home, **complete(policy, gap_dtype="float32")).signal(batch, needs)

    assert read.top is not None
    live_BT = F.kl(all_logits(live, batch), q_BTV, temperature=temperature)
    read_BT = F.kl_truncated(read.top, q_BTV, tail=tail, temperature=temperature)
    torch.testing.assert_close(read_BT[mask_BT], live_BT[mask_BT], atol=TOLERANCE, rtol=0)


def test_kl_from_all_entries_in_float16_stays_within_its_bound(
    home: Path, policy: Policy, rows: tuple[Row, ...]
) -> None:
    # a gap g is off by at most 2^-11 g, and dKL/dg_v = -p_v (log(p_v / q_v) - KL)
    batch = batch_of(policy, rows, (1, 15, 9))
    q_BTV = student_logits(batch, policy.vocabulary)
    mask_BT = batch.mask_BT.bool()
    needs = Needs(teacher="top")

    live = LiveTeacher(policy).signal(batch, needs)
    read = cached(home, **complete(policy)).signal(batch, needs)

    assert read.top is not None
    p_BTV = all_logits(live, batch)
    logp_BTV, logq_BTV = p_BTV.log_softmax(-1), q_BTV.log_softmax(-1)
    live_BT = F.kl(p_BTV, q_BTV)
    gaps_BTV = p_BTV.amax(-1, keepdim=True) - p_BTV
    slope_BTV = logp_BTV.exp() * (logp_BTV - logq_BTV - live_BT[..., None]).abs()
    bound_BT = HALF_ULP * (slope_BTV * gaps_BTV).sum(-1)
    error_BT = (F.kl_truncated(read.top, q_BTV) - live_BT).abs()
    assert bool((error_BT <= 1.01 * bound_BT + TOLERANCE)[mask_BT].all())
    assert 0 < float(error_BT[mask_BT].max()) < 1e-3


def test_a_complete_float32_cache_gives_all_logits(
    home: Path, policy: Policy, rows: tuple[Row, ...]
) -> None:
    batch = batch_of(policy, rows, (2, 0))
    needs = Needs(teacher="dense")

    live = LiveTeacher(policy).signal(batch, needs)
    read = cached(home, **complete(policy, gap_dtype="float32")).signal(batch, needs)

    torch.testing.assert_close(
        all_logits(read, batch), all_logits(live, batch), atol=TOLERANCE, rtol=0
    )


def test_truncated_entries_are_the_largest_with_the_mass_they_leave(
    home: Path, policy: Policy, rows: tuple[Row, ...]
) -> None:
    batch = batch_of(policy, rows, (5, 6))
    mask_BT = batch.mask_BT.bool()
    needs = Needs(teacher="top")

    live = LiveTeacher(policy).signal(batch, needs)
    read = cached(home, top=6).signal(batch, needs)

    assert read.top is not None
    p_NV = all_logits(live, batch)[mask_BT].softmax(-1)
    kept_NM = p_NV.gather(-1, read.top.ids_BTM[mask_BT].long())
    torch.testing.assert_close(
        read.top.tail_BT[mask_BT], 1 - kept_NM.sum(-1), atol=TOLERANCE, rtol=0
    )
    torch.testing.assert_close(kept_NM, p_NV.topk(6).values, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("memory_bytes", [0, 3000], ids=["nothing", "one shard"])
def test_how_much_stays_in_memory_changes_nothing(
    home: Path, policy: Policy, rows: tuple[Row, ...], memory_bytes: int
) -> None:
    batch = batch_of(policy, rows, (23, 0, 11, 12, 1))
    needs = Needs(teacher="top")

    small = cached(home, top=6, memory_bytes=memory_bytes).signal(batch, needs)
    large = cached(home, top=6).signal(batch, needs)

    assert _tensors(small) == _tensors(large)


def _tensors(signal: TeacherSignal) -> list[list[Any]]:
    assert signal.top is not None
    tensors = [getattr(signal, name) for name in STATISTICS]
    tensors += [signal.top.ids_BTM, signal.top.gaps_BTM, signal.top.tail_BT]
    return [tensor.tolist() for tensor in tensors]


def test_padding_holds_zeros(home: Path, policy: Policy, rows: tuple[Row, ...]) -> None:
    batch = batch_of(policy, rows, (0, 1, 2))
    padding_BT = ~batch.mask_BT.bool()

    assert bool(padding_BT.any())
    for teacher in (LiveTeacher(policy), cached(home, top=6)):
        signal = teacher.signal(batch, Needs(teacher="top"))
        for name in STATISTICS:
            assert bool((getattr(signal, name)[padding_BT] == 0).all())


def test_the_live_teacher_gives_no_gradient(policy: Policy, rows: tuple[Row, ...]) -> None:
    batch = batch_of(policy, rows, (0, 1))
    logits_BTV = student_logits(batch, policy.vocabulary).requires_grad_()
    student = StudentSignal(logits_BTV=logits_BTV, logp_taken_BT=logits_BTV[..., 0])

    signal = LiveTeacher(policy).signal(
        batch, Needs(teacher="dense", student_expected=True), student
    )

    assert signal.student_expected_BT is not None
    assert not signal.student_expected_BT.requires_grad
    assert not all_logits(signal, batch).requires_grad


def test_the_students_expectation_is_taken_at_the_right_steps(
    policy: Policy, rows: tuple[Row, ...]
) -> None:
    batch = batch_of(policy, rows, (0, 7))
    logits_BTV = student_logits(batch, policy.vocabulary)
    student = StudentSignal(logits_BTV=logits_BTV, logp_taken_BT=logits_BTV[..., 0])
    by_hand_BT = (logits_BTV.softmax(-1) * policy.logits(batch)).sum(-1) * batch.mask_BT

    needs = Needs(teacher="stats", student_expected=True)
    signal = LiveTeacher(policy, chunk_tokens=5).signal(batch, needs, student)

    assert signal.student_expected_BT is not None
    torch.testing.assert_close(
        signal.student_expected_BT, by_hand_BT.detach(), atol=TOLERANCE, rtol=0
    )


def test_the_students_expectation_needs_the_student(policy: Policy, rows: tuple[Row, ...]) -> None:
    with pytest.raises(MismatchError, match="without its logits"):
        LiveTeacher(policy).signal(
            batch_of(policy, rows, (0,)), Needs(teacher="stats", student_expected=True)
        )


def test_a_temperature_not_stored_is_an_error_with_its_remedy(
    home: Path, policy: Policy, rows: tuple[Row, ...]
) -> None:
    teacher = cached(home, top=6)

    with pytest.raises(MismatchError) as raised:
        teacher.signal(batch_of(policy, rows, (0,)), Needs(teacher="top", temperature=2.0))
    assert raised.value.message == (
        "teacher cache `3f9c1b2a` holds temperatures 1.0; the objective asks 2.0"
    )
    assert raised.value.hint == (
        "ketchup cache-teacher --set top=6 --set 'temperatures=[1.0, 2.0]'"
    )


def test_another_token_is_noticed(home: Path, policy: Policy, rows: tuple[Row, ...]) -> None:
    batch = batch_of(policy, rows, (3, 4))
    tokens_BT = batch.tokens_BT.clone()
    tokens_BT[1, 0] += 1

    with pytest.raises(MismatchError, match=f"another text for example `{rows[4].id[:12]}`"):
        cached(home, top=6).signal(replace(batch, tokens_BT=tokens_BT), Needs(teacher="top"))


def test_another_prompt_is_noticed(home: Path, policy: Policy, rows: tuple[Row, ...]) -> None:
    other = replace(rows[4], prompt=(*rows[4].prompt[:-2], rows[4].prompt[-1]))
    batch = collate([rows[3], other], pad_id=policy.pad_id, source="data")

    with pytest.raises(MismatchError, match=f"another text for example `{rows[4].id[:12]}`"):
        cached(home, top=6).signal(batch, Needs(teacher="top"))


def test_a_longer_completion_is_noticed(home: Path, policy: Policy, rows: tuple[Row, ...]) -> None:
    longer = replace(rows[4], completion=(*rows[4].completion, policy.eos_id))
    batch = collate([longer], pad_id=policy.pad_id, source="data")

    with pytest.raises(MismatchError, match="another text"):
        cached(home, top=6).signal(batch, Needs(teacher="top"))


def test_a_row_that_moved_is_noticed(home: Path, policy: Policy, rows: tuple[Row, ...]) -> None:
    moved = replace(rows[4], position=5)
    batch = collate([moved], pad_id=policy.pad_id, source="data")

    with pytest.raises(MismatchError, match="another text"):
        cached(home, top=6).signal(batch, Needs(teacher="top"))


def test_ids_of_a_permuted_tokenizer_are_noticed(
    home: Path, policy: Policy, rows: tuple[Row, ...]
) -> None:
    order = torch.randperm(policy.vocabulary, generator=torch.Generator().manual_seed(0))
    batch = batch_of(policy, rows, (3, 4))
    permuted = replace(batch, tokens_BT=order[batch.tokens_BT], prompt_BS=order[batch.prompt_BS])

    with pytest.raises(MismatchError, match="another tokenizer"):
        cached(home, top=6).signal(permuted, Needs(teacher="top"))


@pytest.mark.parametrize("position", [24, 10**6, -1])
def test_a_row_the_cache_does_not_hold_is_named(
    home: Path, policy: Policy, rows: tuple[Row, ...], position: int
) -> None:
    batch = collate([replace(rows[0], position=position)], pad_id=policy.pad_id, source="data")

    with pytest.raises(MismatchError, match=f"no row for example `{rows[0].id[:12]}`"):
        cached(home, top=6).signal(batch, Needs(teacher="top"))


def test_a_batch_without_positions_is_an_error(
    home: Path, policy: Policy, rows: tuple[Row, ...]
) -> None:
    batch = replace(batch_of(policy, rows, (0,)), rows=())

    with pytest.raises(MismatchError, match="0 positions"):
        cached(home, top=6).signal(batch, Needs(teacher="top"))


def test_completions_of_another_source_are_refused(
    home: Path, policy: Policy, rows: tuple[Row, ...]
) -> None:
    batch = replace(batch_of(policy, rows, (0,)), source="teacher")

    with pytest.raises(MismatchError, match="about references"):
        cached(home, top=6).signal(batch, Needs(teacher="top"))


DETAILS = {
    "statistics": ({"top": 0}, "stats"),
    "some entries": ({"top": 6}, "top"),
    "all entries, rounded": ({"top": -1}, "top"),
    "all entries": ({"top": -1, "gap_dtype": "float32"}, "dense"),
}


@pytest.mark.parametrize("name", DETAILS)
def test_a_cache_offers_what_was_kept(name: str, home: Path, policy: Policy) -> None:
    settings, detail = DETAILS[name]
    if settings["top"] == -1:
        settings = complete(policy, gap_dtype=settings.get("gap_dtype", "float16"))

    offers = cached(home, **settings).offers

    assert offers.detail == detail
    assert not offers.any_prefix
