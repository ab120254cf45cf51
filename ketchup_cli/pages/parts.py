"""What a page is made of: sections of tables, figures, texts and commands. No markup but drawings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows below a header; the columns from `numeric` on hold numbers."""

    kind: ClassVar[str] = "table"
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: int = 1
    """Number of the first column that is set flush right."""
    caption: str = ""
    folded: str = ""
    """Words to unfold the table by; empty where it is open."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A drawing with the words that stand in for it."""

    title: str
    drawing: str
    """SVG as `vector.embedded` returns it: no script, no style, every text escaped."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Drawings side by side, what they mean, and the table of the numbers in them."""

    kind: ClassVar[str] = "figures"
    figures: tuple[Figure, ...]
    caption: str
    table: Table
    title: str = ""
    wide: bool = False
    """Whether a drawing needs the width of the page, and scrolls where that is small."""
    legend: tuple[tuple[str, int], ...] = ()
    """Label and number of the colour and mark, where the drawings hold no labels."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Paragraphs."""

    kind: ClassVar[str] = "words"
    paragraphs: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """Command lines, in the order to type them."""

    kind: ClassVar[str] = "commands"
    lines: tuple[str, ...]


Mark = Literal["same", "added", "missing"]
Piece = tuple[Mark, str]
"""Text that the reference has too, has not, or alone has."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one model wrote for an item, piece by piece against the reference."""

    label: str
    number: int
    """Decides colour and mark."""
    note: str
    pieces: tuple[Piece, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One item: its prompt, its references, and what the models made of it."""

    id: str
    prompt: str
    references: tuple[str, ...]
    sides: tuple[Side, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Items side by side."""

    kind: ClassVar[str] = "samples"
    items: tuple[Sample, ...]


Block = Table | Figures | Words | Commands | Samples


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading with what stands below it; `anchor` is a word of letters."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]
    lead: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A whole page.

    Example: `render.html(Page(title="kl-student", findings=("…",), sections=()))`
    """

    title: str
    findings: tuple[str, ...]
    """Sentences on what was found; the first is the most important one."""
    sections: tuple[Section, ...]
    origin: str = ""
    """The last line: which program made the page."""


def present(sections: Sequence[Section | None]) -> tuple[Section, ...]:
    """Return the sections there is something to say in."""
    return tuple(section for section in sections if section is not None)
