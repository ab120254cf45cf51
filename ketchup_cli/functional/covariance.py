"""Mean and covariance of gradients from sums alone: trace, signal to noise, cosine, intervals.

N independent vectors g_1 .. g_N of one distribution, with mean mu and covariance C, are added up in
G groups and let go. All that follows takes two numbers of a set of vectors, or of pairs (g_i, h_i):

    squares  = sum_i g_i . h_i              products = (sum_i g_i) . (sum_i h_i)

Both are given for all vectors and again with each group left out, `[G + 1]` numbers, so that every
figure comes with the replicates its interval is made of. `R` are these replicates.
"""

import torch
from torch import Tensor

from ketchup_cli.errors import ShapeError
from ketchup_cli.functional.checks import check_shapes

COLUMNS = 1 << 18
"""Entries of each vector that are held in float64 at once."""


def group_products(sums_GP: Tensor, other_GP: Tensor) -> Tensor:
    """Return the products of all groups' sums with all of another's.

        c_jk = sums_j . other_k

    Args:
        sums_GP: [G, P] sums of the vectors of each group.
        other_GP: [G, P] the same groups' sums of other vectors, or the same tensor.

    Returns:
        [G, G] float64.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("sums_GP other_GP", sums_GP, other_GP)
    groups, size = sums_GP.shape
    total_GG = torch.zeros(groups, groups, dtype=torch.float64, device=sums_GP.device)
    for start in range(0, size, COLUMNS):
        part = slice(start, start + COLUMNS)
        total_GG += sums_GP[:, part].double() @ other_GP[:, part].double().T
    return total_GG


def left_out(parts_G: Tensor) -> Tensor:
    """Return the sum over all groups, then the sums with each group left out.

    Args:
        parts_G: [G] a number of each group that adds up: its size, or its `squares`.

    Returns:
        [G + 1].
    """
    check_shapes("parts_G", parts_G)
    total = parts_G.sum()
    return torch.cat([total[None], total - parts_G])


def left_out_products(pairs_GG: Tensor) -> Tensor:
    """Return the product of both whole sums, then the products with each group left out of both.

        (S - S_j) . (T - T_j) = S.T - S_j.T - S.T_j + S_j.T_j

    Args:
        pairs_GG: [G, G] from `group_products`.

    Returns:
        [G + 1] `products`.
    """
    groups = pairs_GG.shape[0]
    if pairs_GG.shape != (groups, groups):
        raise ShapeError(f"`pairs_GG` is {tuple(pairs_GG.shape)}; it must be square")
    total = pairs_GG.sum()
    without_G = total - pairs_GG.sum(dim=1) - pairs_GG.sum(dim=0) + pairs_GG.diagonal()
    return torch.cat([total[None], without_G])


def covariance_trace(squares_R: Tensor, products_R: Tensor, count_R: Tensor) -> Tensor:
    """Return the trace of the covariance of the vectors, without bias.

        tr C = (squares - products / n) / (n - 1)

    A mean that is longer than the spread by 1e5 times or more leaves no digits of vectors that were
    added up in float32.

    Args:
        squares_R: [R] `squares` of the vectors with themselves.
        products_R: [R] `products` of their sum with itself.
        count_R: [R] how many vectors, at least 2.

    Returns:
        [R] traces.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("squares_R products_R count_R", squares_R, products_R, count_R)
    return (squares_R - products_R / count_R) / (count_R - 1)


def mean_product(squares_R: Tensor, products_R: Tensor, count_R: Tensor) -> Tensor:
    """Return the product of the two true means, without the bias of the noise both share.

        mu . nu = (products - squares) / (n (n - 1))

    The mean of g_i . h_j over i != j. The product of the two sample means is larger by tr Cov(g, h) / n,
    which for few noisy vectors is most of it. May be negative, also for mu = nu.

    Args:
        squares_R: [R] `squares` of the pairs.
        products_R: [R] `products` of both sums.
        count_R: [R] how many pairs, at least 2.

    Returns:
        [R] estimates.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("squares_R products_R count_R", squares_R, products_R, count_R)
    return (products_R - squares_R) / (count_R * (count_R - 1))


def signal_to_noise(squares_R: Tensor, products_R: Tensor, count_R: Tensor) -> Tensor:
    """Return the squared length of the true mean over the trace of the covariance.

        |mu|^2 / tr C

    The numerator is `mean_product`. With the squared length of the sample mean as numerator the
    ratio is larger by exactly 1 / n.

    Args:
        squares_R: [R] `squares` of the vectors with themselves.
        products_R: [R] `products` of their sum with itself.
        count_R: [R] how many vectors, at least 2.

    Returns:
        [R] ratios.
    """
    trace_R = covariance_trace(squares_R, products_R, count_R)
    return mean_product(squares_R, products_R, count_R) / trace_R


def mean_cosine(product_R: Tensor, own_R: Tensor, other_R: Tensor) -> Tensor:
    """Return the cosine of the angle between two means.

        mu . nu / (|mu| |nu|)

    Args:
        product_R: [R] mu . nu.
        own_R: [R] |mu|^2.
        other_R: [R] |nu|^2.

    Returns:
        [R] cosines; NaN where an estimate of a squared length is not above 0. Estimates without
        bias may give more than 1.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("product_R own_R other_R", product_R, own_R, other_R)
    lengths_R = own_R.clamp(min=0).sqrt() * other_R.clamp(min=0).sqrt()
    return torch.where(lengths_R > 0, product_R / lengths_R, torch.nan)


def squared_bias(product_R: Tensor, own_R: Tensor, other_R: Tensor) -> Tensor:
    """Return the squared distance of a mean from a reference, in squared lengths of the reference.

        |mu - nu|^2 / |nu|^2 = (|mu|^2 - 2 mu . nu + |nu|^2) / |nu|^2

    Args:
        product_R: [R] mu . nu.
        own_R: [R] |mu|^2.
        other_R: [R] |nu|^2 of the reference.

    Returns:
        [R] squared biases; NaN where the reference's estimate is not above 0.

    Raises:
        ShapeError: shapes differ.
    """
    check_shapes("product_R own_R other_R", product_R, own_R, other_R)
    distance_R = own_R - 2 * product_R + other_R
    return torch.where(other_R > 0, distance_R / other_R, torch.nan)


def jackknife_error(figure_R: Tensor, sizes_G: Tensor) -> Tensor:
    """Return the standard error of a figure from its values with each group left out.

        h_j = n / m_j,   pseudo_j = h_j f - (h_j - 1) f_(-j)
        jack = G f - sum_j (1 - m_j / n) f_(-j)
        error^2 = 1/G sum_j (pseudo_j - jack)^2 / (h_j - 1)

    For groups of one size this is the usual delete-a-group jackknife; for groups of one vector, the
    usual jackknife.

    Args:
        figure_R: [G + 1] the figure of all vectors, then with each group left out.
        sizes_G: [G] vectors in each group; at least 2 groups.

    Returns:
        A scalar; NaN where a value is.

    Raises:
        ShapeError: there are not as many values as groups and one more, or fewer than 2 groups.

    Source: Busing, Meijer and van der Leeden 1999, "Delete-m jackknife for unequal m".
    """
    check_shapes("figure_R sizes_G", figure_R, sizes_G)
    groups = len(sizes_G)
    if len(figure_R) != groups + 1 or groups < 2:
        raise ShapeError(f"`figure_R` has {len(figure_R)} values for {groups} groups")
    whole, without_G = figure_R[0], figure_R[1:]
    share_G = sizes_G / sizes_G.sum()
    inverse_G = 1 / share_G
    pseudo_G = inverse_G * whole - (inverse_G - 1) * without_G
    jack = groups * whole - ((1 - share_G) * without_G).sum()
    return ((pseudo_G - jack).square() / (inverse_G - 1)).mean().sqrt()
