"""Texts of two systems, one of them with its words in disorder, and what is asked about them."""

from ketchup_cli.judging.calls import Form, Item

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
