"""What stands between the layers of an encoder and one number for a text: mixing and pooling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ketchup_cli.functional.checks import check_shapes


def sparsemax(scores_N: Tensor) -> Tensor:
    """Return the point of the simplex that is nearest to the scores; many are 0 there.

        p_n = max(0, z_n - tau),   sum_n p_n = 1

    Args:
        scores_N: [N] any numbers.

    Source: Martins and Astudillo 2016, arXiv 1602.02068, algorithm 1.
    """
    sorted_N = scores_N.sort(descending=True).values
    sums_N = sorted_N.cumsum(dim=0) - 1.0
    sizes_N = torch.arange(1, len(scores_N) + 1, device=scores_N.device)
    support = int((sizes_N * sorted_N > sums_N).sum())
    return (scores_N - sums_N[support - 1] / support).clamp(min=0.0)


def mixed_layers(
    layers: Sequence[Tensor], weights_N: Tensor, mask_BT: Tensor, *, normalise: bool = False
) -> Tensor:
    """Return the weighted sum of a text's states in every layer.

        h_t = sum_n w_n x_nt,   where asked x_n less its mean, by its deviation, over a text's tokens

    Args:
        layers: N times [B, T, H] states.
        weights_N: [N] weights.
        mask_BT: [B, T] 1 on tokens, 0 on padding.
        normalise: whether states are normalised first.

    Raises:
        ShapeError: shapes differ.

    Source: Peters et al. 2018, arXiv 1802.05365, equation 1; COMET's layerwise attention.
    """
    check_shapes("layer_BTH mask_BT", layers[0], mask_BT)
    pieces = (
        weight * (_normalised(layer, mask_BT) if normalise else layer)
        for weight, layer in zip(weights_N, layers, strict=True)
    )
    return sum(pieces, torch.zeros_like(layers[0]))


def mean_state(states_BTH: Tensor, mask_BT: Tensor) -> Tensor:
    """Return [B, H] the mean of a text's states over its tokens.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("states_BTH mask_BT", states_BTH, mask_BT)
    kept_BTH = states_BTH.masked_fill(mask_BT[..., None] == 0, 0.0)
    return kept_BTH.sum(dim=1) / mask_BT.sum(dim=1, keepdim=True)


def comet_features(text_BH: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Return what COMET's estimator reads of the vectors of a translation and of its companions.

        with reference and source:  [t; r; t r; |t - r|; t s; |t - s|]
        with the source alone:      [t; s; t s; |t - s|]

    Args:
        text_BH: [B, H] translations.
        others: [B, H] references and sources, or sources alone.

    Returns:
        [B, 6 H], or [B, 4 H].

    Raises:
        ShapeError: shapes differ.

    Source: Rei et al. 2020, arXiv 2009.09025, and Rei et al. 2021 for the second.
    """
    for other_BH in others:
        check_shapes("text_BH other_BH", text_BH, other_BH)
    compared = [part for o_BH in others for part in (text_BH * o_BH, (text_BH - o_BH).abs())]
    return torch.cat([text_BH, others[0], *compared], dim=1)


def _normalised(states_BTH: Tensor, mask_BT: Tensor) -> Tensor:
    mask_BT1 = mask_BT[..., None].to(states_BTH.dtype)
    count_B11 = (mask_BT.sum(dim=1) * states_BTH.shape[-1]).view(-1, 1, 1)
    mean_B11 = (states_BTH * mask_BT1).sum(dim=(1, 2), keepdim=True) / count_B11
    apart_BTH = states_BTH - mean_B11
    variance_B11 = ((apart_BTH * mask_BT1) ** 2).sum(dim=(1, 2), keepdim=True) / count_B11
    return apart_BTH / (variance_B11 + 1e-12).sqrt()
