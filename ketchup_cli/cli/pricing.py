"""What judges cost, as it is typed: a price for all of them, or MODEL= and the price of one."""

from collections.abc import Mapping, Sequence
from typing import Any

from ketchup_cli.errors import SpecError
from ketchup_cli.spec import Table, unknown

Typed = Mapping[str, Sequence[str] | None]
"""What was typed of each kind of price, by the name of its setting."""


def priced(typed: Typed, judges: Sequence[Table], *, model: str | None) -> dict[str, Any]:
    """Return the settings that hold the prices: those of the table, and the judges with theirs.

    Args:
        typed: [MODEL=]N, several of each kind.
        judges: all that are named, where several are.
        model: the judge, where one is named by itself.

    Raises:
        SpecError: a price that is no number, or of a judge that is not named.
    """
    found: dict[str, Any] = {}
    own = [dict(judge) for judge in judges]
    for setting, texts in typed.items():
        for text in texts or ():
            name, _, number = text.rpartition("=")
            for table in _tables(name, own, model=model) if name else [found]:
                (found if table is None else table)[setting] = _number(number)
    return found | ({"judges": tuple(own)} if own != list(judges) else {})


def _tables(
    name: str, judges: Sequence[dict[str, Any]], *, model: str | None
) -> Sequence[dict[str, Any] | None]:
    """Return the judges of a name; None stands for the only one, whose prices are the table's."""
    named = [judge for judge in judges if name in {judge["model"], _whole(judge)}]
    if named:
        return named
    if name == model and not judges:
        return [None]
    models = [str(judge["model"]) for judge in judges] or [model or ""]
    raise unknown("a judge", name, models, hint="--price-in MODEL=0.15, as --judge names it")


def _whole(judge: Table) -> str:
    return f"{judge['model']}@{judge.get('base_url', '')}"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SpecError(
            f"`{text}` is no price",
            hint="--price-in 0.15, or --price-in MODEL=0.15, per million tokens",
        ) from None
