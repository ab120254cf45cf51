"""Stop-gradients, held still: what a loss detaches is a constant to its derivative.

A policy gradient's weight changes with the student and is not differentiated. To compare such a
loss with its own gradient by differences, the weight must stay what it was: the first evaluation
records what is detached, later ones are given the same.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, final

from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.overrides import TorchFunctionMode

from ketchup_cli.errors import ShapeError

_UNNAMED = frozenset({"<listcomp>", "<genexpr>", "<lambda>"})


@final
class Stops(TorchFunctionMode):
    """Records what is detached inside the block, or replays a record.

    A `torch.autograd.Function` detaches to find its gradient on the way, which stops nothing: calls
    by a `forward` of one, and by what it calls directly, are let through.

    Example: with Stops() as stops: f(x)
             with Stops(stops.held): f(x + h)
    """

    def __init__(self, held: Sequence[Tensor] | None = None) -> None:
        super().__init__()
        self.held: list[Tensor] = list(held or ())
        self._replayed = None if held is None else 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        found = func(*args, **(kwargs or {}))
        if func is not Tensor.detach or _of_machinery(sys._getframe(1)):
            return found
        if self._replayed is None:
            self.held.append(found.clone())
            return found
        if self._replayed >= len(self.held):
            raise ShapeError(
                f"more than {len(self.held)} stop-gradients where there were that many"
            )
        self._replayed += 1
        return self.held[self._replayed - 1]


def _of_machinery(frame: FrameType | None) -> bool:
    """Tell whether a custom function's `forward`, or what it calls directly, made the call."""
    named = 0
    while frame is not None and named < 2:
        if isinstance(frame.f_locals.get("ctx"), FunctionCtx):
            return True
        module = str(frame.f_globals.get("__name__"))
        named += frame.f_code.co_name not in _UNNAMED and not module.startswith("torch.")
        frame = frame.f_back
    return False
