"""The drawing of a lineage: boxes in ranks, what was read above what reads it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final
from xml.etree.ElementTree import Element

from ketchup_cli.pages.vector import drawn, element

BOX = (178.0, 54.0)
"""Width and height of a box."""
GAP = (22.0, 44.0)
"""Room between boxes of a rank, and between ranks."""
PASSING = 16.0
"""Room for a line that passes a rank."""
SWEEPS = 8
NAME_LETTERS = 23
LINE_LETTERS = 30

Edge = tuple[str, str]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One thing of a lineage."""

    key: str
    name: str
    lines: tuple[str, str]
    reads: tuple[str, ...]
    """Keys of what it was made from."""
    strong: bool
    """Whether it was asked for."""
    broken: bool
    """Whether it is not in the store as it was read."""


def drawing(boxes: Sequence[Box], *, alt: str) -> str:
    """Return the lineage as an element of the page; boxes come after what they read."""
    edges = direct_edges(boxes)
    ranks = _ranks(boxes, edges)
    chains = _chains(ranks, edges)
    rows = _ordered(_rows(ranks, chains), chains)
    centres = _centres(rows, chains)
    left = min(x - _width(key) / 2 for key, x in centres.items())
    places = {key: x - left + 1 for key, x in centres.items()}
    width = max(x + _width(key) / 2 for key, x in places.items()) + 1
    height = len(rows) * (BOX[1] + GAP[1]) - GAP[1] + 2
    level = {key: rank for rank, row in enumerate(rows) for key in row}
    children = [_path(chain, places, level) for chain in chains]
    for box in boxes:
        children += _draw(box, places[box.key], _top(level[box.key]))
    return drawn(children, width=width, height=height, alt=alt)


def direct_edges(boxes: Sequence[Box]) -> list[Edge]:
    """Return the edges (above, below) that no longer path implies."""
    known = {box.key for box in boxes}
    above = {box.key: [key for key in dict.fromkeys(box.reads) if key in known] for box in boxes}
    ancestors: dict[str, set[str]] = {}
    for box in boxes:
        parents = above[box.key]
        ancestors[box.key] = set(parents).union(*(ancestors[key] for key in parents))
    return [
        (key, box.key)
        for box in boxes
        for key in above[box.key]
        if not any(key in ancestors[other] for other in above[box.key])
    ]


def _ranks(boxes: Sequence[Box], edges: Sequence[Edge]) -> dict[str, int]:
    """Return how deep each box lies; what is read once stands right above its reader."""
    ranks: dict[str, int] = {}
    for box in boxes:
        ranks[box.key] = 1 + max((ranks[a] for a, b in edges if b == box.key), default=-1)
    for box in reversed(boxes):
        below = [ranks[b] for a, b in edges if a == box.key]
        if below:
            ranks[box.key] = min(below) - 1
    return ranks


def _chains(ranks: Mapping[str, int], edges: Sequence[Edge]) -> list[tuple[str, ...]]:
    """Return every edge as the keys it passes, one a rank; those between are nobody's boxes."""
    return [
        (a, *(f"\0{a}\0{b}\0{rank}" for rank in range(ranks[a] + 1, ranks[b])), b) for a, b in edges
    ]


def _rows(ranks: Mapping[str, int], chains: Sequence[tuple[str, ...]]) -> list[list[str]]:
    rows: list[list[str]] = [[] for _ in range(max(ranks.values()) + 1)]
    for key, rank in ranks.items():
        rows[rank].append(key)
    for chain in chains:
        for step, key in enumerate(chain[1:-1], start=ranks[chain[0]] + 1):
            rows[step].append(key)
    return rows


def _neighbours(chains: Iterable[tuple[str, ...]]) -> tuple[dict[str, list[str]], ...]:
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for chain in chains:
        for a, b in pairwise(chain):
            above.setdefault(b, []).append(a)
            below.setdefault(a, []).append(b)
    return above, below


def _ordered(rows: list[list[str]], chains: Sequence[tuple[str, ...]]) -> list[list[str]]:
    """Return the rows in an order with few crossings: each by the mean place of its neighbours."""
    above, below = _neighbours(chains)
    best, fewest = rows, _crossings(rows, below)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        linked = above if down else below
        rows = [list(row) for row in rows]
        for number in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            fixed = rows[number - 1 if down else number + 1]
            place = {key: at for at, key in enumerate(fixed)}
            rows[number].sort(key=lambda key: _mean([place[k] for k in linked.get(key, ())], 0.0))
        crossings = _crossings(rows, below)
        if crossings < fewest:
            best, fewest = rows, crossings
    return best


def _crossings(rows: Sequence[Sequence[str]], below: Mapping[str, Sequence[str]]) -> int:
    count = 0
    for upper, lower in pairwise(rows):
        place = {key: at for at, key in enumerate(lower)}
        ends = [place[key] for above in upper for key in below.get(above, ())]
        starts = [at for at, above in enumerate(upper) for _ in below.get(above, ())]
        pairs = list(zip(starts, ends, strict=True))
        count += sum(a < c and b > d for a, b in pairs for c, d in pairs)
    return count


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _centres(rows: Sequence[Sequence[str]], chains: Sequence[tuple[str, ...]]) -> dict[str, float]:
    """Return where the middle of each box stands: near its neighbours, none on another."""
    above, below = _neighbours(chains)
    centres: dict[str, float] = {}
    for row in rows:
        centres |= _spread(row, dict.fromkeys(row, 0.0))
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 == 0 else list(reversed(rows)):
            wanted = {
                key: _mean(
                    [centres[k] for k in (*above.get(key, ()), *below.get(key, ()))], centres[key]
                )
                for key in row
            }
            centres |= _spread(row, wanted)
    return centres


def _spread(row: Sequence[str], wanted: Mapping[str, float]) -> dict[str, float]:
    """Return places in the order of the row, as near to the wanted ones as the widths allow."""
    places: list[float] = []
    for key in row:
        least = places[-1] + _apart(row[len(places) - 1], key) if places else wanted[key]
        places.append(max(wanted[key], least))
    aside = _mean([place - wanted[key] for key, place in zip(row, places, strict=True)], 0.0)
    return {key: place - aside for key, place in zip(row, places, strict=True)}


def _apart(one: str, other: str) -> float:
    return (_width(one) + _width(other)) / 2 + GAP[0]


def _width(key: str) -> float:
    return PASSING if key.startswith("\0") else BOX[0]


def _top(rank: int) -> float:
    return rank * (BOX[1] + GAP[1]) + 1


def _path(chain: tuple[str, ...], places: Mapping[str, float], level: Mapping[str, int]) -> Element:
    """Return the line of an edge: straight past the ranks between, bent from one to the next."""
    at, to = places[chain[0]], _top(level[chain[0]]) + BOX[1]
    words = [f"M{at:.1f} {to:.1f}"]
    for key in chain[1:]:
        top, x = _top(level[key]), places[key]
        middle = (to + top) / 2
        words.append(f"C{at:.1f} {middle:.1f} {x:.1f} {middle:.1f} {x:.1f} {top:.1f}")
        if key != chain[-1]:
            words.append(f"V{top + BOX[1]:.1f}")
        at, to = x, top + BOX[1]
    end = _top(level[chain[-1]])
    words.append(f"m-3.5 -6 L{at:.1f} {end:.1f} l3.5 -6")
    return element("path", class_="edge", d=" ".join(words))


def _draw(box: Box, centre: float, top: float) -> list[Element]:
    left = centre - BOX[0] / 2
    look = "box" + (" strong" if box.strong else "") + (" broken" if box.broken else "")
    frame = element("rect", class_=look, x=left, y=top, width=BOX[0], height=BOX[1], rx=7.0)
    name = element("text", _cut(box.name, NAME_LETTERS), class_="name", x=left + 10, y=top + 18)
    lines = [
        element("text", _cut(line, LINE_LETTERS), class_="line", x=left + 10, y=top + 32 + 13 * row)
        for row, line in enumerate(box.lines)
    ]
    return [frame, name, *lines]


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
