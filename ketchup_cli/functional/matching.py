"""Greedy matching of two texts' tokens by the angle between their states."""

from __future__ import annotations

import torch
from torch import Tensor

from ketchup_cli.functional.checks import check_shapes


def greedy_match(
    hyp_NH: Tensor, ref_KH: Tensor, hyp_counts_N: Tensor, ref_counts_K: Tensor
) -> tuple[float, float, float]:
    """Return precision, recall and F1 of a hypothesis' tokens against a reference's.

        s_nk = <h_n, r_k> / (|h_n| |r_k|)
        P = mean over counted n of max_k s_nk,   R = mean over counted k of max_n s_nk
        F = 2 P R / (P + R)

    A token that is not counted may be matched, but has no say in a mean, as in bert-score. All are 0
    where a side has no counted token, and F is 0 where P + R is.

    Args:
        hyp_NH: [N, H] states of the hypothesis.
        ref_KH: [K, H] states of the reference.
        hyp_counts_N: [N] true on tokens that count: not on those a tokenizer puts around a text.
        ref_counts_K: [K] the same for the reference.

    Raises:
        ShapeError: shapes differ.

    Source: Zhang et al. 2020, arXiv 1904.09675, without weights by rarity and without rescaling.
    """
    check_shapes("hyp_NH ref_KH", hyp_NH, ref_KH)
    check_shapes("hyp_NH hyp_counts_N", hyp_NH, hyp_counts_N)
    check_shapes("ref_KH ref_counts_K", ref_KH, ref_counts_K)
    if not (bool(hyp_counts_N.any()) and bool(ref_counts_K.any())):
        return 0.0, 0.0, 0.0
    unit_NH = hyp_NH / hyp_NH.norm(dim=-1, keepdim=True)
    unit_KH = ref_KH / ref_KH.norm(dim=-1, keepdim=True)
    similarity_NK = torch.matmul(unit_NH, unit_KH.t())
    precision = float(similarity_NK.amax(dim=1)[hyp_counts_N].mean())
    recall = float(similarity_NK.amax(dim=0)[ref_counts_K].mean())
    both = precision + recall
    return precision, recall, 2 * precision * recall / both if both else 0.0
