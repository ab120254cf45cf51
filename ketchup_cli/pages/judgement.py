"""What a page reads of `judge.json`."""

import msgspec

DOCUMENT = "judge.json"
Interval = tuple[float, float]


class Pair(msgspec.Struct, frozen=True):
    """One pair of systems on one aspect, by one judge."""

    x: str
    y: str
    aspect: str
    units: int
    unjudged: int
    wins: int
    ties: int
    losses: int
    win_rate: float | None = None
    interval: Interval | None = None
    bounds: Interval | None = None
    p_holm: float | None = None
    consistency: float | None = None
    first_slot: float | None = None
    length_adjusted: float | None = None
    length_ratio: float | None = None
    detectable: float | None = None
    claim: str = ""
    judge: str = ""


class Controls(msgspec.Struct, frozen=True):
    """How a judge did where the answer is known."""

    right: int
    asked: int
    by_kind: dict[str, str] = {}
    mute: int = 0


class Judge(msgspec.Struct, frozen=True):
    """One judge."""

    name: str
    controls: Controls
    unjudged: dict[str, int] = {}


class Rating(msgspec.Struct, frozen=True):
    """One system on one aspect, by one judge."""

    system: str
    aspect: str
    items: int
    unjudged: int
    ratings: dict[str, int]
    judge: str = ""
    mean: float | None = None
    interval: Interval | None = None
    bounds: Interval | None = None
    deviation: float | None = None
    characters: float | None = None


class Difference(msgspec.Struct, frozen=True):
    """Two systems' ratings on one aspect, by one judge."""

    x: str
    y: str
    aspect: str
    items: int
    unjudged: int
    difference: float | None = None
    interval: Interval | None = None
    bounds: Interval | None = None
    p_holm: float | None = None
    detectable: float | None = None
    claim: str = ""
    judge: str = ""


class Agreed(msgspec.Struct, frozen=True):
    """Two judges."""

    one: str
    other: str
    units: int
    same: float | None = None
    kappa: float | None = None
    interval: Interval | None = None


class Agreement(msgspec.Struct, frozen=True):
    """All judges on one aspect."""

    aspect: str
    units: int
    alpha: float | None = None
    interval: Interval | None = None
    pairs: tuple[Agreed, ...] = ()


class Human(msgspec.Struct, frozen=True):
    """One judge beside people."""

    judge: str
    x: str
    y: str
    aspect: str
    units: int
    same: float | None = None
    kappa: float | None = None
    kappa_interval: Interval | None = None
    confusion: dict[str, dict[str, int]] = {}
    human_rate: float | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    corrected: float | None = None
    corrected_interval: Interval | None = None


class Stability(msgspec.Struct, frozen=True):
    """One judge asked the same again, on one aspect."""

    judge: str
    aspect: str
    questions: int
    same: float | None = None
    interval: Interval | None = None


class Place(msgspec.Struct, frozen=True):
    """One system in a ranking."""

    system: str
    place: int
    places: tuple[int, int]
    strength: float
    interval: Interval


class Ranking(msgspec.Struct, frozen=True):
    """All systems on one aspect."""

    aspect: str
    systems: tuple[Place, ...]
    wins: dict[str, dict[str, int]]
    circular: int = 0
    decided: int = 0


class Clusters(msgspec.Struct, frozen=True):
    """How the examples hang together."""

    count: int
    shared: int = 0


class Document(msgspec.Struct, frozen=True):
    """A judgement."""

    judges: tuple[Judge, ...]
    figures: tuple[Pair, ...]
    ratings: tuple[Rating, ...] = ()
    differences: tuple[Difference, ...] = ()
    agreement: tuple[Agreement, ...] = ()
    human: tuple[Human, ...] = ()
    ranking: tuple[Ranking, ...] = ()
    stability: tuple[Stability, ...] = ()
    clusters: Clusters | None = None
    warnings: tuple[str, ...] = ()

    def by(self, judge: str) -> str:
        """Return the judge's name before what is its alone, where there are several."""
        return f"{judge}: " if judge and len(self.judges) > 1 else ""
