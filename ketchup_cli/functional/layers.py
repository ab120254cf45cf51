"""States of a student's layers held against those of its teacher's.

Stacks of states begin with the embeddings: entry 0 is what goes into layer 1, entry l what comes
out of layer l. Layers are counted from 1, as in the maps between them.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear

from ketchup_cli.errors import ShapeError
from ketchup_cli.functional.checks import at_least_float32, check_shapes

LayerMap = Literal["forward", "reverse", "all-to-one", "random", "given"]
HiddenNorm = Literal["none", "token-l2", "layernorm"]


def layer_map(
    kind: LayerMap, *, student: int, teacher: int, given: Sequence[int] = (), seed: int = 0
) -> tuple[int, ...]:
    """Return the teacher's layer that each layer of the student is held against.

        forward     g(i) = ceil(i n / m),   i = 1..m: evenly spaced, the last on the last
        reverse     g(i) = forward(m + 1 - i)
        all-to-one  g(i) = given[0], or ceil(n / 2) where none is given
        random      a permutation of forward, by the digests of (seed, i): fixed for a whole run
        given       g(i) = given[i - 1]

    Args:
        kind: which of these.
        student: number of its layers m.
        teacher: number of its layers n.
        given: layers of the teacher, counted from 1, for `all-to-one` and `given`.
        seed: of the permutation.

    Returns:
        m layers of the teacher, 1 to n.

    Raises:
        ShapeError: a layer the teacher does not have, or a list of another length than it must be.

    Source: Yu et al. 2025, arXiv 2502.04499. Differs: the middle layer is rounded up.
    """
    if min(student, teacher) < 1:
        raise ShapeError(f"no map between {student} layers and {teacher}; both need one at least")
    forward = tuple(-(-i * teacher // student) for i in range(1, student + 1))
    if kind == "reverse":
        return forward[::-1]
    if kind == "random":
        return tuple(forward[i] for i in sorted(range(student), key=lambda i: _digest(seed, i)))
    if kind == "all-to-one":
        _check_given(given or (1,), 1, teacher)
        return (given[0] if given else -(-teacher // 2),) * student
    if kind == "given":
        _check_given(given, student, teacher)
        return tuple(given)
    return forward


def _digest(seed: int, index: int) -> bytes:
    return hashlib.sha256(f"{seed}:{index}".encode()).digest()


def _check_given(given: Sequence[int], count: int, teacher: int) -> None:
    if len(given) != count:
        raise ShapeError(f"{len(given)} teacher layers are given where {count} are needed")
    for layer in given:
        if not 1 <= layer <= teacher:
            raise ShapeError(f"there is no teacher layer {layer}; it has layers 1 to {teacher}")


def layer_distances(
    student_LBTH: Tensor,
    teacher_KBTW: Tensor,
    *,
    layers: Sequence[int],
    norm: HiddenNorm = "none",
    projections: Sequence[Tensor | None] = (),
) -> Tensor:
    """Return how far the states of every student layer are from those of its teacher layer.

        d_l = (1/W) || N(P_l h_l) - N(f_g(l)) ||^2

        none       N(x) = x
        token-l2   N(x) = sqrt(W) x / ||x||:  d = 2 - 2 cos(P h, f)
        layernorm  N(x) = (x - mean x) / sqrt(var x + 1e-5):  d = 2 - 2 corr(P h, f), but for the 1e-5

    The mean over the width, not the sum: a weight then means the same at every width. Every state
    is normalised by itself, so that neither padding nor the rest of the batch has a say in it.
    Gradients flow into all arguments; whoever wants the teacher fixed detaches it.

    Args:
        student_LBTH: [L, B, T, H] states, embeddings first: L - 1 layers.
        teacher_KBTW: [K, B, T, W] states, embeddings first: K - 1 layers.
        layers: the map g, one teacher layer for each of the student's.
        norm: N.
        projections: [W, H] P_l for every student layer, or None where it is the identity; none at
            all if all are.

    Returns:
        [L - 1, B, T], at least float32; the squares are those of junk on padding.

    Raises:
        ShapeError: shapes differ, or widths do and a projection is missing.

    Source: Yu et al. 2025, arXiv 2502.04499. Differs: its released code normalises in another way
    for every task, over padding too; here a norm is that of one token.
    """
    check_shapes("student_LBTH teacher_KBTW", student_LBTH, teacher_KBTW)
    count = student_LBTH.shape[0] - 1
    _check_given(layers, count, teacher_KBTW.shape[0] - 1)
    found = []
    for index, layer in enumerate(layers):
        weight_WH = projections[index] if projections else None
        ours_BTW = _projected(student_LBTH[index + 1], weight_WH, teacher_KBTW.shape[-1])
        theirs_BTW = _normalised(at_least_float32(teacher_KBTW[layer]), norm)
        found.append((_normalised(ours_BTW, norm) - theirs_BTW).square().mean(dim=-1))
    return torch.stack(found)


def _projected(hidden_BTH: Tensor, weight_WH: Tensor | None, width: int) -> Tensor:
    hidden_BTH = at_least_float32(hidden_BTH)
    if weight_WH is not None:
        projected_BTW: Tensor = linear(hidden_BTH, weight_WH.to(hidden_BTH.dtype))
        return projected_BTW
    if hidden_BTH.shape[-1] != width:
        raise ShapeError(
            f"the student's states have width {hidden_BTH.shape[-1]}, the teacher's {width}; a"
            " projection is needed between them"
        )
    return hidden_BTH


def _normalised(x_BTW: Tensor, norm: HiddenNorm) -> Tensor:
    if norm == "token-l2":
        # a state of zeros stays one, with a finite slope
        length_BT1 = x_BTW.square().sum(dim=-1, keepdim=True).clamp(min=1e-12).sqrt()
        return x_BTW / length_BT1 * math.sqrt(x_BTW.shape[-1])
    if norm == "layernorm":
        return layer_norm(x_BTW, x_BTW.shape[-1:])
    return x_BTW


def layer_angles(student_LNH: Tensor, teacher_KNH: Tensor, *, anchor: int = 1) -> Tensor:
    """Return the angles at which a student's states see the teacher's layers, as cosines.

        cos_lk = < f_k - h_l, f_a - h_l > / (||f_k - h_l|| ||f_a - h_l||)

    Where most angles are acute, a pull towards any one layer of the teacher is a pull towards the
    others as well, and it matters little which is matched.

    Args:
        student_LNH: [L, N, H] states of layers 1 to L, without the embeddings.
        teacher_KNH: [K, N, H] states of layers 1 to K, likewise.
        anchor: the teacher's layer a, counted from 1.

    Returns:
        [L, K, N] cosines, -1 to 1, at least float32; NaN where one of the two differences is
        zero and there is no angle.

    Raises:
        ShapeError: shapes differ, or the teacher has no such layer.

    Source: Yu et al. 2025, arXiv 2502.04499. Differs: all angles are taken to one layer, not
    between all pairs; an angle that does not exist is not counted as a right one.
    """
    check_shapes("student_LNH teacher_KNH", student_LNH, teacher_KNH)
    _check_given((anchor,), 1, teacher_KNH.shape[0])
    teacher_KNH = at_least_float32(teacher_KNH)
    found = []
    for student_NH in student_LNH:
        way_KNH = teacher_KNH - student_NH
        length_KN = way_KNH.norm(dim=-1)
        dot_KN = (way_KNH * way_KNH[anchor - 1]).sum(dim=-1)
        cosine_KN = dot_KN / (length_KN * length_KN[anchor - 1])
        found.append(cosine_KN.clamp(-1.0, 1.0))
    return torch.stack(found)
