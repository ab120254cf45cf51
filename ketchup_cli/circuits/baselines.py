"""What a circuit must be held against: simpler rules from the same rows.

None of them is Reverse Derivative Ascent. A majority a cell is the best table there is for the rows
it saw; a logistic regression draws planes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

Seen = TypeVar("Seen", bound=Hashable)
RIDGE = 1e-3
"""Weight of the squared coefficients a row: enough that separable classes have a solution."""


def most_frequent(labels: Sequence[str]) -> str:
    """Return the most frequent label, the first by name among equals."""
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], label))


def majority(inputs: Sequence[Seen], labels: Sequence[str]) -> Callable[[Seen], str]:
    """Return the rule of the most frequent label a cell; an input never seen gets that of all."""
    cells: dict[Seen, list[str]] = {}
    for x, label in zip(inputs, labels, strict=True):
        cells.setdefault(x, []).append(label)
    chosen = {x: most_frequent(own) for x, own in cells.items()}
    otherwise = most_frequent(labels)
    return lambda x: chosen.get(x, otherwise)


def logistic(
    rows: Sequence[Sequence[float]], labels: Sequence[str]
) -> Callable[[Sequence[float]], str]:
    """Return the rule of a multinomial logistic regression with a ridge, on standardised features.

    minimise  -(1/N) sum_n log softmax(W x_n + b)[y_n] + (ridge / 2) |W|^2
    """
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    names = sorted(set(labels))
    x_NF = np.asarray(rows, dtype=float)
    center_F, spread_F = x_NF.mean(axis=0), x_NF.std(axis=0)
    spread_F = np.where(spread_F > 0, spread_F, 1.0)
    x_NF = np.column_stack([(x_NF - center_F) / spread_F, np.ones(len(rows))])
    wanted_NC = np.asarray([[name == label for name in names] for label in labels], dtype=float)
    shape = (x_NF.shape[1], len(names))

    def cost(flat: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, object]:
        w_FC = flat.reshape(shape)
        logp_NC = log_softmax(x_NF @ w_FC, axis=1)
        held_FC = w_FC * np.where(np.arange(shape[0]) < shape[0] - 1, 1.0, 0.0)[:, None]
        slope_FC = x_NF.T @ (np.exp(logp_NC) - wanted_NC) / len(rows) + RIDGE * held_FC
        value = -(wanted_NC * logp_NC).sum() / len(rows) + RIDGE / 2 * (held_FC**2).sum()
        return float(value), slope_FC.ravel()

    found = minimize(cost, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B")
    w_FC = found.x.reshape(shape)

    def rule(row: Sequence[float]) -> str:
        own = np.append((np.asarray(row, dtype=float) - center_F) / spread_F, 1.0)
        return names[int((own @ w_FC).argmax())]

    return rule
