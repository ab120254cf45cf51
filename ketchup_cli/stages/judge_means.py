"""From the spec of `judge` to whom it asks, how fast, how long and for how much."""

from dataclasses import dataclass
from decimal import Decimal
from typing import final
from urllib.parse import urlsplit

import msgspec

from ketchup_cli.errors import SpecError
from ketchup_cli.judging.budget import Budget, Prices
from ketchup_cli.judging.menus import RATINGS, VERDICTS, Menu
from ketchup_cli.judging.pacing import Pace
from ketchup_cli.judging.probe import Settings
from ketchup_cli.judging.responses import public_address
from ketchup_cli.judging.retrying import Limits
from ketchup_cli.judging.session import Server
from ketchup_cli.specs import JudgeSpec, OneJudgeSpec
from ketchup_cli.stages.judge_questions import is_joint


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A judge and the way to it."""

    server: Server
    base_url: str
    """As it was written: it may hold a user's name, so it stands in no result."""
    key_file: str | None
    """Empty reads the environment; None sends no key."""
    prices: Prices


def judges_of(spec: JudgeSpec) -> tuple[OneJudgeSpec, ...]:
    """Return every judge with its address, in the order they were named.

    Raises:
        SpecError: none is named, one without an address, or one twice.
    """
    named = spec.judges or (OneJudgeSpec(model=spec.model),)
    found = tuple(
        msgspec.structs.replace(one, base_url=one.base_url or spec.base_url) for one in named
    )
    addresses = [(one.model, one.base_url) for one in found]
    for one in found:
        for field in ("base_url", "model"):
            if not getattr(one, field):
                raise SpecError(
                    f"no judge is named: `{field}` is empty",
                    hint='[judge] base_url = "http://127.0.0.1:8080/v1", model = "NAME" in'
                    " ketchup.toml",
                )
        if addresses.count((one.model, one.base_url)) > 1:
            raise SpecError(
                f"the judge `{one.model}` is named twice", hint="--judge MODEL@URL, each once"
            )
    return found


def endpoints_of(spec: JudgeSpec) -> tuple[Endpoint, ...]:
    """Return every judge that is asked and the way to it, in the order they were named.

    Raises:
        SpecError: none is named, one without an address, or one twice.
    """
    judges = judges_of(spec)
    models = [one.model for one in judges]
    addresses = {public_address(one.base_url) for one in judges}
    found: list[Endpoint] = []
    for one in judges:
        address = public_address(one.base_url)
        server = Server(
            name=one.model if models.count(one.model) == 1 else f"{one.model} at {address}",
            address=address,
            settings=Settings(
                model=one.model,
                max_tokens=spec.max_tokens,
                temperature=spec.temperature,
                seed=spec.seed,
            ),
            protocol=spec.protocol,
            menu=_menu(spec),
        )
        # the one key there is belongs to the one server; of several, to that of `base_url`
        own = len(addresses) == 1 or address == public_address(spec.base_url)
        key_file = spec.api_key_file if own else None
        key_file = spec.api_key_files.get(urlsplit(address).hostname or "", key_file)
        found.append(
            Endpoint(
                server=server,
                base_url=one.base_url,
                key_file=key_file,
                prices=_prices_of(spec, one),
            )
        )
    return tuple(found)


def _menu(spec: JudgeSpec) -> Menu:
    menu = RATINGS if spec.mode == "rating" else VERDICTS
    return menu.joint(spec.aspects) if is_joint(spec) else menu


def budget_of(spec: JudgeSpec) -> Budget:
    """Return what may be spent, by all judges together.

    Raises:
        SpecError: a limit, and a judge without a price.
    """
    for one in judges_of(spec):
        if spec.budget and not _prices_of(spec, one).known:
            raise SpecError(
                f"a budget of {spec.budget:g} means nothing without the prices of `{one.model}`",
                hint="--price-in 0.15 --price-out 0.60, per million tokens; of one judge of"
                " several --price-in MODEL=0.15",
            )
    return Budget(_prices(spec), _decimal(spec.budget) if spec.budget else None)


def _prices_of(spec: JudgeSpec, one: OneJudgeSpec) -> Prices:
    own = _prices(one)
    return own if own.known else _prices(spec)


def _prices(table: JudgeSpec | OneJudgeSpec) -> Prices:
    return Prices(
        prompt=_decimal(table.price_prompt),
        cached=_decimal(table.price_cached) if table.price_cached else None,
        completion=_decimal(table.price_completion),
    )


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
