import math
from itertools import pairwise

import pytest
import torch

from ketchup_cli import functional as F
from ketchup_cli.errors import ShapeError

LENGTHS = (4, 2)
NORMS = ("none", "token-l2", "layernorm")


def random_states(layers, width, *, seed=0, batch=len(LENGTHS), steps=max(LENGTHS)):
    generator = torch.Generator().manual_seed(seed)
    shape = (layers + 1, batch, steps, width)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def mask():
    return (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()


# maps


@pytest.mark.parametrize(
    ("teacher", "student", "expected"),
    [
        (12, 3, (4, 8, 12)),
        (12, 6, (2, 4, 6, 8, 10, 12)),
        (36, 9, (4, 8, 12, 16, 20, 24, 28, 32, 36)),
        (3, 2, (2, 3)),
        (2, 2, (1, 2)),
    ],
)
def test_forward_layers_are_those_of_the_paper(teacher, student, expected):
    assert F.layer_map("forward", student=student, teacher=teacher) == expected


@pytest.mark.parametrize("teacher", range(1, 25))
def test_forward_rises_strictly_to_the_last_layer(teacher):
    for student in range(1, teacher + 1):
        layers = F.layer_map("forward", student=student, teacher=teacher)

        assert layers[-1] == teacher
        assert all(a < b for a, b in pairwise(layers))


def test_reverse_is_forward_from_the_end():
    assert F.layer_map("reverse", student=3, teacher=12) == (12, 8, 4)


@pytest.mark.parametrize(("given", "layer"), [((), 6), ((2,), 2)])
def test_all_to_one_is_the_middle_or_the_layer_given(given, layer):
    found = F.layer_map("all-to-one", student=3, teacher=12, given=given)

    assert found == (layer,) * 3


@pytest.mark.parametrize("seed", range(5))
def test_random_is_a_permutation_of_forward(seed):
    found = F.layer_map("random", student=6, teacher=12, seed=seed)

    assert sorted(found) == list(F.layer_map("forward", student=6, teacher=12))


def test_random_is_the_same_for_the_same_seed_on_every_machine():
    assert F.layer_map("random", student=6, teacher=12, seed=1) == (10, 12, 6, 8, 2, 4)


def test_random_differs_between_seeds():
    found = {F.layer_map("random", student=6, teacher=12, seed=seed) for seed in range(10)}

    assert len(found) > 5


def test_a_given_list_is_taken_as_it_is():
    assert F.layer_map("given", student=3, teacher=4, given=(4, 1, 1)) == (4, 1, 1)


@pytest.mark.parametrize(
    ("kind", "given", "sentence"),
    [
        ("given", (1, 2), "2 teacher layers are given where 3 are needed"),
        ("given", (1, 2, 5), "there is no teacher layer 5; it has layers 1 to 4"),
        ("given", (0, 1, 2), "there is no teacher layer 0"),
        ("all-to-one", (1, 2), "2 teacher layers are given where 1 are needed"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(kind, given, sentence):
    with pytest.raises(ShapeError, match=sentence):
        F.layer_map(kind, student=3, teacher=4, given=given)


def test_a_model_without_layers_is_refused():
    with pytest.raises(ShapeError, match="no map between 2 layers and 0"):
        F.layer_map("forward", student=2, teacher=0)


# distances


def slow_normalised(x, norm):
    if norm == "token-l2":
        length = math.sqrt(sum(v * v for v in x))
        return [v / length * math.sqrt(len(x)) for v in x]
    if norm == "layernorm":
        mean = sum(x) / len(x)
        variance = sum((v - mean) ** 2 for v in x) / len(x)
        return [(v - mean) / math.sqrt(variance + 1e-5) for v in x]
    return x


def slow_distances(student, teacher, layers, norm, weights):
    rows = []
    for index, layer in enumerate(layers):
        for b in range(student.shape[1]):
            for t in range(student.shape[2]):
                ours = student[index + 1, b, t].tolist()
                if weights:
                    ours = [
                        sum(w * h for w, h in zip(row, ours, strict=True))
                        for row in weights[index].tolist()
                    ]
                theirs = slow_normalised(teacher[layer, b, t].tolist(), norm)
                ours = slow_normalised(ours, norm)
                squares = [(a - b) ** 2 for a, b in zip(ours, theirs, strict=True)]
                rows.append(sum(squares) / len(squares))
    shape = (len(layers), student.shape[1], student.shape[2])
    return torch.tensor(rows, dtype=torch.float64).view(shape)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("projected", [False, True])
def test_distances_are_those_of_a_loop_over_layers_and_tokens(norm, projected):
    student, teacher = random_states(2, 3, seed=1), random_states(4, 5 if projected else 3, seed=2)
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(2)]
    weights = weights if projected else []

    found = F.layer_distances(student, teacher, layers=(3, 1), norm=norm, projections=weights)

    torch.testing.assert_close(found, slow_distances(student, teacher, (3, 1), norm, weights))


def test_a_distance_worked_by_hand():
    student = torch.tensor([[9.0, 9.0], [3.0, 4.0]]).view(2, 1, 1, 2)
    teacher = torch.tensor([[7.0, 7.0], [4.0, 3.0]]).view(2, 1, 1, 2)

    plain = F.layer_distances(student, teacher, layers=(1,))
    turned = F.layer_distances(student, teacher, layers=(1,), norm="token-l2")

    assert plain.item() == pytest.approx(1.0)
    assert turned.item() == pytest.approx(2 - 2 * 24 / 25)


@pytest.mark.parametrize("norm", NORMS)
def test_a_student_of_the_teacher_s_own_layers_is_at_distance_zero(norm):
    teacher = random_states(4, 6)
    layers = F.layer_map("forward", student=2, teacher=4)
    student = torch.stack([teacher[0], *(teacher[layer] for layer in layers)])
    identity = [torch.eye(6, dtype=torch.float64)] * 2

    found = F.layer_distances(student, teacher, layers=layers, norm=norm, projections=identity)

    torch.testing.assert_close(found, torch.zeros_like(found))


@pytest.mark.parametrize("norm", NORMS)
def test_columns_of_padding_do_not_change_the_mean(norm):
    student, teacher = random_states(2, 5, seed=1), random_states(4, 5, seed=2)
    wide = (_wider(student, 77.0), _wider(teacher, -5.0), torch.nn.functional.pad(mask(), (0, 3)))

    def mean(student, teacher, mask_BT):
        distance = F.layer_distances(student, teacher, layers=(2, 4), norm=norm).mean(dim=0)
        return F.masked_mean(distance, mask_BT)

    torch.testing.assert_close(mean(*wide), mean(student, teacher, mask()))


def _wider(x, junk):
    return torch.nn.functional.pad(x, (0, 0, 0, 3), value=junk)


@pytest.mark.parametrize("norm", NORMS)
def test_a_batch_twice_over_has_the_mean_of_the_batch(norm):
    student, teacher = random_states(2, 5, seed=1), random_states(4, 5, seed=2)

    def mean(copies):
        stacks = (x.repeat(1, copies, 1, 1) for x in (student, teacher))
        distance = F.layer_distances(*stacks, layers=(2, 4), norm=norm).mean(dim=0)
        return F.masked_mean(distance, mask().repeat(copies, 1))

    torch.testing.assert_close(mean(2), mean(1))


@pytest.mark.parametrize("norm", ["token-l2", "layernorm"])
def test_a_normalised_distance_does_not_depend_on_the_length_of_states(norm):
    student, teacher = random_states(2, 8, seed=1), random_states(2, 8, seed=2)

    long = F.layer_distances(100 * student, teacher, layers=(1, 2), norm=norm)

    # layer norm adds 1e-5 to the variance
    torch.testing.assert_close(
        long, F.layer_distances(student, teacher, layers=(1, 2), norm=norm), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("norm", NORMS)
def test_states_of_zeros_have_finite_slopes(norm):
    student = torch.zeros(2, 1, 2, 4, requires_grad=True)

    F.layer_distances(
        student, random_states(1, 4, batch=1, steps=2), layers=(1,), norm=norm
    ).sum().backward()

    assert student.grad.isfinite().all()


def test_the_embeddings_are_not_matched():
    student = random_states(2, 5, seed=1).requires_grad_()

    F.layer_distances(student, random_states(2, 5, seed=2), layers=(1, 2)).sum().backward()

    assert student.grad[0].abs().max() == 0
    assert student.grad[1:].abs().min() > 0


@pytest.mark.parametrize("norm", NORMS)
def test_half_precision_is_computed_in_float32(norm):
    student, teacher = (
        random_states(2, 5, seed=1).bfloat16(),
        random_states(2, 5, seed=2).bfloat16(),
    )

    found = F.layer_distances(student, teacher, layers=(1, 2), norm=norm)

    torch.testing.assert_close(
        found,
        F.layer_distances(student.float(), teacher.float(), layers=(1, 2), norm=norm),
        atol=0,
        rtol=0,
    )


def test_other_widths_without_a_projection_are_refused():
    with pytest.raises(ShapeError, match="width 3, the teacher's 5"):
        F.layer_distances(random_states(2, 3), random_states(2, 5), layers=(1, 2))


def test_a_map_of_another_length_is_refused():
    with pytest.raises(ShapeError, match="1 teacher layers are given where 2 are needed"):
        F.layer_distances(random_states(2, 3), random_states(2, 3), layers=(1,))


def test_a_trained_projection_comes_to_the_least_squares_residual():
    student, teacher = random_states(1, 3, seed=1, steps=9), random_states(1, 4, seed=2, steps=9)
    weight = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        found = F.layer_distances(student, teacher, layers=(1,), projections=[weight]).mean()
        found.backward()
        return found

    optimizer.step(loss)

    h, f = student[1].flatten(0, 1), teacher[1].flatten(0, 1)
    best = f - h @ torch.linalg.lstsq(h, f).solution
    assert loss().item() == pytest.approx(best.square().mean().item(), rel=1e-6)


# angles


def slow_cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@pytest.mark.parametrize("anchor", [1, 3])
def test_angles_are_those_of_a_loop_over_layers_and_tokens(anchor):
    student, teacher = (random_states(n, 5, seed=n)[1:].flatten(1, 2) for n in (2, 3))
    expected = [
        [
            [
                slow_cosine(
                    (teacher[k, n] - student[j, n]).tolist(),
                    (teacher[anchor - 1, n] - student[j, n]).tolist(),
                )
                for n in range(student.shape[1])
            ]
            for k in range(3)
        ]
        for j in range(2)
    ]

    found = F.layer_angles(student, teacher, anchor=anchor)

    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_the_angle_to_the_anchor_itself_is_none():
    found = F.layer_angles(*(random_states(n, 5, seed=n)[1:].flatten(1, 2) for n in (2, 3)))

    torch.testing.assert_close(found[:, 0], torch.ones_like(found[:, 0]))
    assert found.abs().max() <= 1


def test_layers_at_right_angles_are_seen_at_sixty_degrees():
    student, first, second = torch.eye(3).view(3, 1, 1, 3)

    found = F.layer_angles(student, torch.cat([first, second]))

    assert found.flatten().tolist() == pytest.approx([1.0, 0.5])


def test_where_student_and_teacher_agree_there_is_no_angle():
    states = torch.eye(3).view(3, 1, 3)

    found = F.layer_angles(states[1:2], states)

    assert [math.isnan(x) for x in found.flatten().tolist()] == [False, True, False]


def test_an_anchor_the_teacher_does_not_have_is_refused():
    with pytest.raises(ShapeError, match="no teacher layer 4"):
        F.layer_angles(torch.ones(1, 2, 3), torch.ones(3, 2, 3), anchor=4)


def test_angles_of_half_precision_are_computed_in_float32():
    student, teacher = (random_states(n, 5, seed=n)[1:].flatten(1, 2).bfloat16() for n in (2, 3))

    found = F.layer_angles(student, teacher)

    expected = F.layer_angles(student.float(), teacher.float())
    torch.testing.assert_close(found, expected, atol=0, rtol=0)
