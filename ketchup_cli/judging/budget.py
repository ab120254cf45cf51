"""What calls cost, in decimal numbers; money is set aside before a request is sent."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import final

from ketchup_cli.judging.answers import Usage

_MILLION = Decimal(1_000_000)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Per million tokens, in any unit; all 0 where nobody said."""

    prompt: Decimal = Decimal(0)
    cached: Decimal | None = None
    """Prompt tokens a server had seen before; as `prompt` where nobody said."""
    completion: Decimal = Decimal(0)

    @property
    def known(self) -> bool:
        """Whether a price was given at all."""
        return bool(self.prompt or self.cached or self.completion)

    def cost(self, usage: Usage) -> Decimal:
        """Return what these tokens cost."""
        cached = self.prompt if self.cached is None else self.cached
        fresh = usage.prompt - usage.cached
        total = fresh * self.prompt + usage.cached * cached + usage.completion * self.completion
        return total / _MILLION


@final
@dataclass(slots=True)
class _Account:
    spent: Decimal = Decimal(0)
    reserved: Decimal = Decimal(0)


@final
class Budget:
    """What may be spent.

    Invariant: spent + reserved <= limit after every call, so that no order of answers and no kill
    can pass the limit, as long as no answer has more tokens than were set aside for it.
    """

    def __init__(self, prices: Prices, limit: Decimal | None = None) -> None:
        """Start with nothing spent; no limit is None."""
        self.prices = prices
        self.limit = limit
        self._account = _Account()

    def priced(self, prices: Prices) -> Budget:
        """Return the same budget at other prices: what one spends, the other has spent."""
        other = Budget(prices, self.limit)
        other._account = self._account
        return other

    @property
    def spent(self) -> Decimal:
        """What was paid."""
        return self._account.spent

    def resume(self, spent: Decimal) -> None:
        """Begin with what was paid before."""
        self._account.spent = spent

    @property
    def reserved(self) -> Decimal:
        """What is set aside for calls that are on their way."""
        return self._account.reserved

    def reserve(self, usage: Usage) -> Decimal | None:
        """Set aside what this would cost at most; None if that is more than is left."""
        cost = self.prices.cost(usage)
        if self.limit is not None and self.spent + self.reserved + cost > self.limit:
            return None
        self._account.reserved += cost
        return cost

    def settle(self, reserved: Decimal, usage: Usage | None) -> Decimal:
        """Count what a call took, in place of what was set aside; all of that where nobody knows."""
        cost = reserved if usage is None else self.prices.cost(usage)
        self._account.reserved -= reserved
        self._account.spent += cost
        return cost

    def release(self, reserved: Decimal) -> None:
        """Give back what was set aside for a call that never reached a model."""
        self._account.reserved -= reserved
