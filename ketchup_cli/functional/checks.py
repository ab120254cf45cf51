"""Shapes read off tensor names, the precision of the maths, and blocks of rows."""

import torch
from torch import Tensor

from ketchup_cli.errors import ShapeError

_CACHED_ENTRIES = 1 << 19
"""Of a block of rows: 2 MB in float32, 64 rows of 8,000 entries."""


def check_shapes(names: str, *tensors: Tensor) -> None:
    """Hold tensors against the shapes their names end in.

    Args:
        names: one name a tensor, separated by spaces; the letters after the last underscore are
            its axes, and a letter means the same size everywhere: `"q_BT v_BT mask_BT"`.
        tensors: as many tensors, in that order.

    Raises:
        ShapeError: an axis is missing, or two tensors differ in one; both sizes are named.
    """
    first: dict[str, tuple[int, str]] = {}
    for name, tensor in zip(names.split(), tensors, strict=True):
        axes = name.rpartition("_")[2]
        if tensor.ndim != len(axes):
            raise ShapeError(f"`{name}` has {tensor.ndim} axes; its name says {len(axes)}")
        for axis, size in zip(axes, tensor.shape, strict=True):
            expected, owner = first.setdefault(axis, (size, name))
            if size != expected:
                raise ShapeError(f"`{name}` has {size} along {axis} where `{owner}` has {expected}")


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x` in float32, or unchanged where it is float64.

    Half precision is too coarse for differences of logits: at 20 one step of bfloat16 is 0.125.
    """
    return x if x.dtype == torch.float64 else x.float()


def row_blocks(x_NV: Tensor) -> list[slice]:
    """Return slices of rows that together are all rows.

    A block of `x_NV` stays in a processor's cache from one sweep to the next, which makes a chain
    of sweeps several times faster; an accelerator takes all rows at once.
    """
    rows = x_NV.shape[0]
    cached = max(1, _CACHED_ENTRIES // max(1, x_NV.shape[1]))
    step = cached if x_NV.device.type == "cpu" else max(1, rows)
    return [slice(start, start + step) for start in range(0, max(1, rows), step)]
