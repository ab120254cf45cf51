"""The spec of what makes a teacher's decisions into a circuit.

Changing a default changes ids and is a changelog entry.
"""

from typing import Literal, final

from ketchup_cli.spec import Spec
from ketchup_cli.spec_parts import Count, Natural, Share


@final
class CircuitsSpec(Spec, frozen=True, kw_only=True):
    """Distil decisions about rows of numbers into a circuit of gates."""

    decision: str = "decision"
    """Field of what the teacher decided of a row."""
    features: tuple[str, ...] = ()
    """Fields of numbers the circuit reads; none takes all but the decision."""
    circuit: Literal["table", "pseudo-linear"] = "table"
    """table has a cell for every input, 16 features at most; pseudo-linear counts chosen inputs, for two
    labels."""
    divisor: Count = 4
    """A pseudo-linear circuit says 1 up to this part of its chosen inputs."""
    thresholds: Literal["midrange", "median"] = "midrange"
    """Where a number becomes a 1: above the middle between least and largest, or above the median."""
    thresholds_from: Literal["learnt", "all"] = "learnt"
    """Rows that set the thresholds; all looks at the held-out rows, as the published experiment does."""
    code: Literal["binary", "one-hot"] = "binary"
    """Bits of a label: its number, or a bit of its own."""
    per_label: Natural = 0
    """First rows of every label that are learnt from, label after label; 0 draws what is held out."""
    held_out: Share = 0.5
    """Share of the rows that fidelity is measured on, where `per_label` is 0."""
    passes: Count = 1
    """How often every row is learnt from."""
    keep: Literal["last", "best"] = "last"
    """Which parameters are kept: the last, or those right on most of the rows learnt from."""
    orders: Count = 200
    """Orders of the rows whose spread of fidelity is told."""
    seed: int = 0
    """Decides what is held out, and the orders."""
