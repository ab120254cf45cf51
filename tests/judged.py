"""Texts of two systems, one of them with its words in disorder, and rows of what was judged."""

from ketchup_cli.judging.calls import Form, Item
from ketchup_cli.judging.tally import Judgment

FORM = Form(
    task="Summarise.", aspects={"quality": "Better?", "coherence": "Order?"}, characters=400
)
SYSTEMS = ("good", "bad")


def items(count: int) -> tuple[Item, ...]:
    return tuple(
        Item(
            id=f"{number:03d}",
            source=f"text {number} on a bridge that was closed and opens again",
            reference=f"bridge {number} opens again",
            texts={
                "good": f"the bridge number {number} opens again on Monday for all",
                "bad": f"number {number} again bridge bridge the the on on",
            },
        )
        for number in range(count)
    )


def judgment(
    item: int, order: str, verdict: str | None, *, x: str = "a", y: str = "b", **changes: object
) -> Judgment:
    slots = {("xy", "x"): "1", ("xy", "y"): "2", ("yx", "x"): "2", ("yx", "y"): "1"}
    return Judgment(**{
        "key": f"{item}{order}",
        "item": str(item),
        "aspect": "quality",
        "x": x,
        "y": y,
        "order": order,
        "repeat": 0,
        "outcome": "ok" if verdict else "off_menu",
        "slot": slots.get((order, verdict), "tie") if verdict else None,
        "verdict": verdict,
        "reason": "",
        "detail": "",
        "control": None,
        "expected": None,
        "model": "m",
        "fingerprint": "",
        "prompt_tokens": 1,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "completion_tokens": 1,
        "usage_estimated": False,
        "characters": (10, 10),
        "flags": (),
        **changes,
    })


def judged(verdicts: list[tuple[str | None, str | None]], **changes: object) -> list[Judgment]:
    return [
        judgment(item, order, verdict, **changes)
        for item, pair in enumerate(verdicts)
        for order, verdict in zip(("xy", "yx"), pair, strict=True)
    ]
