"""Words of a text held against those of a reference."""

import difflib
import re
from collections.abc import Iterator, Sequence

from ketchup_cli.pages.parts import Piece

LONGEST_MISSING = 6
"""Missing words that are told one by one; of more the number is told."""
_WORD = re.compile(r"\S+\s*")


def pieces(text: str, references: Sequence[str]) -> tuple[Piece, ...]:
    """Return `text` in pieces: what its nearest reference has too, has not, or alone has.

    Joined, the pieces that are not missing ones are `text`, letter by letter.

    Example: `pieces("an old house", ["the old house"])` is missing "the", added "an", same " " and
    "old house".
    """
    own = _words(text)
    if not references:
        return (("same", text),) if text else ()
    best = max(references, key=lambda reference: _matcher(own, _words(reference)).ratio())
    theirs = _words(best)
    lead = text[: len(text) - len(text.lstrip())]
    found: list[Piece] = [("same", lead), *_pieces(own, theirs)]
    return tuple(piece for piece in found if piece[1])


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _matcher(own: Sequence[str], theirs: Sequence[str]) -> "difflib.SequenceMatcher[str]":
    a, b = ([word.strip() for word in words] for words in (theirs, own))
    return difflib.SequenceMatcher(None, a, b, autojunk=False)


def _pieces(own: Sequence[str], theirs: Sequence[str]) -> Iterator[Piece]:
    for tag, a, b, c, d in _matcher(own, theirs).get_opcodes():
        if tag == "equal":
            yield "same", "".join(own[c:d])
            continue
        if b > a:
            few = b - a <= LONGEST_MISSING
            told = "".join(theirs[a:b]).strip() if few else f"{b - a} words"
            yield "missing", told
        if d > c:
            added = "".join(own[c:d])
            yield "added", added.rstrip()
            yield "same", added[len(added.rstrip()) :]
