from pathlib import Path
from typing import Any

import caches
import pytest
import runs
import tiny
import torch
from torch import Tensor

from ketchup_cli import functional as F
from ketchup_cli.errors import MismatchError, ModelError, NonFiniteError
from ketchup_cli.models.cached_teacher import CachedTeacher
from ketchup_cli.models.encode import Row, collate
from ketchup_cli.models.load import load_policy
from ketchup_cli.models.policy import Policy
from ketchup_cli.models.teacher import LiveTeacher
from ketchup_cli.models.token_figures import (
    AGREEMENT,
    FORESIGHT,
    FROM_TOP,
    TokenFigures,
    measure_tokens,
)

TOLERANCE = 1e-5
"""Batches of another shape add float32 numbers in another order."""


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus, a teacher and a student of one family."""
    folder = tmp_path_factory.mktemp(request.param)
    tiny.make_corpus(folder / "corpus")
    tiny.make_policy_folder(folder / "teacher", request.param, seed=1)
    tiny.make_policy_folder(folder / "student", request.param, seed=0)
    return folder


@pytest.fixture(scope="module")
def student(home: Path) -> Policy:
    return load_policy(home / "student", device="cpu")


@pytest.fixture(scope="module")
def teacher(home: Path) -> LiveTeacher:
    return LiveTeacher(load_policy(home / "teacher", device="cpu"))


@pytest.fixture(scope="module")
def rows(home: Path, student: Policy) -> tuple[Row, ...]:
    return caches.rows_of(student, home / "corpus")[:9]


def measured(policy: Policy, rows: tuple[Row, ...], **settings: Any) -> TokenFigures:
    return measure_tokens(policy, rows, **({"tokens_per_batch": 100} | settings))


def cached(home: Path, **settings: Any) -> CachedTeacher:
    inputs = caches.inputs_of(home / "teacher", home / "corpus")
    artifact = caches.make_cache(home / "-".join(map(str, settings.values())), inputs, **settings)
    return CachedTeacher(artifact.path, name="3f9c1b2a")


@torch.no_grad()
def logits_of(policy: Policy, row: Row) -> Tensor:
    """Return the logits [T, V] of a row by itself."""
    return policy.logits(collate([row], pad_id=policy.pad_id, source="data"))[0]


def test_every_token_has_the_figures_of_its_row_by_itself(
    student: Policy, teacher: LiveTeacher, rows: tuple[Row, ...]
) -> None:
    found = measured(student, rows, teacher=teacher)

    expected: dict[str, list[Tensor]] = {name: [] for name in FORESIGHT + AGREEMENT}
    for row in rows:
        q_NV, p_NV = logits_of(student, row), logits_of(teacher.policy, row)
        tokens_N = torch.tensor(row.completion)
        prob_NV = q_NV.softmax(dim=-1)
        expected["nll"].append(-prob_NV[range(len(tokens_N)), tokens_N].log())
        expected["brier"].append(F.brier_scores(q_NV, tokens_N))
        expected["confidence"].append(prob_NV.amax(dim=-1))
        expected["right"].append((prob_NV.argmax(dim=-1) == tokens_N).float())
        expected["same_choice"].append((p_NV.argmax(dim=-1) == q_NV.argmax(dim=-1)).float())
        for name in ("kl", "reverse_kl", "tvd"):
            expected[name].append(getattr(F, name)(p_NV[None], q_NV[None])[0])
    assert found.values.keys() == expected.keys()
    for name, parts in expected.items():
        torch.testing.assert_close(
            found.values[name], torch.cat(parts), atol=TOLERANCE, rtol=TOLERANCE
        )
    assert found.lengths_R.tolist() == [len(row.completion) for row in rows]
    assert found.tokens_N.tolist() == [token for row in rows for token in row.completion]


@pytest.mark.parametrize("settings", [{"tokens_per_batch": 1}, {"chunk_tokens": 1}], ids=str)
def test_neither_batches_nor_chunks_change_a_figure(
    student: Policy, teacher: LiveTeacher, rows: tuple[Row, ...], settings: dict[str, int]
) -> None:
    other = measured(student, rows, teacher=teacher, **settings)

    usual = measured(student, rows, teacher=teacher)
    for name, value_N in usual.values.items():
        torch.testing.assert_close(other.values[name], value_N, atol=TOLERANCE, rtol=TOLERANCE)


def test_without_a_teacher_there_is_no_agreement(student: Policy, rows: tuple[Row, ...]) -> None:
    assert tuple(measured(student, rows).values) == FORESIGHT


def test_a_model_agrees_with_itself(student: Policy, rows: tuple[Row, ...]) -> None:
    found = measured(student, rows, teacher=LiveTeacher(student)).values

    assert bool((found["same_choice"] == 1).all())
    for name in ("kl", "reverse_kl", "tvd"):
        torch.testing.assert_close(
            found[name], torch.zeros_like(found[name]), atol=TOLERANCE, rtol=0
        )


@pytest.mark.parametrize(
    "settings",
    [{"top": 0, "keep": "hidden", "state_dtype": "float32"}, {"gap_dtype": "float32"}],
    ids=["states", "all logits"],
)
def test_a_cache_that_keeps_everything_is_as_good_as_the_teacher(
    home: Path,
    student: Policy,
    teacher: LiveTeacher,
    rows: tuple[Row, ...],
    settings: dict[str, Any],
) -> None:
    whole = {"top": student.vocabulary} | settings
    found = measured(student, rows, teacher=cached(home, **whole))

    live = measured(student, rows, teacher=teacher)
    assert found.values.keys() == live.values.keys()
    for name, value_N in live.values.items():
        torch.testing.assert_close(found.values[name], value_N, atol=TOLERANCE, rtol=1e-4)


def test_a_cache_of_top_entries_tells_choices_exactly_and_distances_from_below(
    home: Path, student: Policy, teacher: LiveTeacher, rows: tuple[Row, ...]
) -> None:
    found = measured(student, rows, teacher=cached(home, top=8)).values

    live = measured(student, rows, teacher=teacher).values
    assert tuple(found) == FORESIGHT + FROM_TOP
    assert torch.equal(found["same_choice"], live["same_choice"])
    for name in ("kl", "tvd"):
        assert bool((found[name] <= live[name] + TOLERANCE).all())
        assert float(found[name].mean()) > 0


def test_a_cache_of_draws_is_refused(home: Path, student: Policy, rows: tuple[Row, ...]) -> None:
    with pytest.raises(MismatchError, match="draws, with statistics"):
        measured(student, rows, teacher=cached(home, keep="sampled", draws=4))


def test_a_model_in_training_mode_is_refused(rows: tuple[Row, ...]) -> None:
    policy = tiny.make_policy()
    policy.module.train()

    with pytest.raises(ModelError, match="training mode"):
        measured(policy, rows)


def test_weights_that_are_not_finite_are_an_error_that_names_the_example() -> None:
    policy = tiny.make_policy()
    rows = tuple(runs.data_rows(policy)[:2])
    with torch.no_grad():
        policy.model.get_output_embeddings().weight[5] = torch.nan

    with pytest.raises(NonFiniteError, match=f"of example `{rows[0].id[:12]}|{rows[1].id[:12]}"):
        measured(policy, rows)


def test_every_row_and_token_is_told(student: Policy, rows: tuple[Row, ...]) -> None:
    told: list[tuple[int, int]] = []

    measured(student, rows, tell=lambda count, tokens: told.append((count, tokens)))

    assert sum(count for count, _ in told) == len(rows)
    assert sum(tokens for _, tokens in told) == sum(len(row.completion) for row in rows)
