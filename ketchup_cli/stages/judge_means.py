"""From the spec of `judge` to whom it asks, how fast, how long and for how much."""

from dataclasses import dataclass
from decimal import Decimal
from typing import final

from ketchup_cli.errors import SpecError
from ketchup_cli.judging.budget import Budget, Prices
from ketchup_cli.judging.menus import RATINGS, VERDICTS
from ketchup_cli.judging.pacing import Pace
from ketchup_cli.judging.probe import Settings
from ketchup_cli.judging.responses import public_address
from ketchup_cli.judging.retrying import Limits
from ketchup_cli.judging.session import Server
from ketchup_cli.specs import JudgeSpec


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A judge and the way to it."""

    server: Server
    base_url: str
    """As it was written: it may hold a user's name, so it stands in no result."""
    key_file: str


def endpoints_of(spec: JudgeSpec) -> tuple[Endpoint, ...]:
    """Return every judge that is asked, in the order they were named.

    Raises:
        SpecError: none is named.
    """
    for field in ("base_url", "model"):
        if not getattr(spec, field):
            raise SpecError(
                f"no judge is named: `{field}` is empty",
                hint='[judge] base_url = "http://127.0.0.1:8080/v1", model = "NAME" in ketchup.toml',
            )
    server = Server(
        name=spec.model,
        address=public_address(spec.base_url),
        settings=Settings(
            model=spec.model,
            max_tokens=spec.max_tokens,
            temperature=spec.temperature,
            seed=spec.seed,
        ),
        protocol=spec.protocol,
        menu=RATINGS if spec.mode == "rating" else VERDICTS,
    )
    return (Endpoint(server=server, base_url=spec.base_url, key_file=spec.api_key_file),)


def budget_of(spec: JudgeSpec) -> Budget:
    """Return what may be spent, by all judges together.

    Raises:
        SpecError: a limit without a price.
    """
    prices = Prices(
        prompt=_decimal(spec.price_prompt),
        cached=_decimal(spec.price_cached) if spec.price_cached else None,
        completion=_decimal(spec.price_completion),
    )
    if spec.budget and not prices.known:
        raise SpecError(
            f"a budget of {spec.budget:g} means nothing without prices",
            hint="--set price_prompt=0.15 --set price_completion=0.60, per million tokens",
        )
    return Budget(prices, _decimal(spec.budget) if spec.budget else None)


def _decimal(number: float) -> Decimal:
    return Decimal(repr(number))


def pace_of(spec: JudgeSpec) -> Pace:
    """Return how many requests one server is sent at once, and in a minute."""
    return Pace(
        most=spec.concurrency,
        requests_per_minute=spec.requests_per_minute,
        tokens_per_minute=spec.tokens_per_minute,
    )


def limits_of(spec: JudgeSpec) -> Limits:
    """Return how long is tried."""
    return Limits(
        attempt_s=spec.timeout_s,
        request_s=spec.request_s,
        attempts=spec.attempts,
        max_wait_s=spec.max_wait_s,
    )
