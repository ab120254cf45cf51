"""Sentences of a text, found by rules that never change under one version; nothing is downloaded."""

import re

VERSION = 1
"""Part of the signature of every figure that rests on it."""
_ABBREVIATIONS = frozenset({
    "mr", "mrs", "ms", "dr", "prof", "st", "sr", "jr", "rev", "gen", "sen", "rep", "gov", "col",
    "capt", "lt", "sgt", "mt", "vs", "etc", "e.g", "i.e", "cf", "vol", "pp", "fig",
    "inc", "ltd", "co", "corp", "dept", "est", "approx", "jan", "feb", "mar", "apr", "jun", "jul",
    "aug", "sep", "sept", "oct", "nov", "dec", "u.s", "u.k", "a.m", "p.m",
})  # fmt: skip
_NUMBERED = frozenset({"no", "nos"})
"""Words that are abbreviations where a number follows."""
_CLOSERS = r"""["'\u201d\u2019)\]\u300d\u300f]*"""
_OPENERS = r"""["'\u201c\u2018(\[]*"""
# a full stop ends a sentence where white space and a capital or a digit follow
_END = re.compile(rf"(?P<mark>[.!?\u2026]+){_CLOSERS}\s+(?={_OPENERS}[^\W_a-z])")
_UNSPACED_END = re.compile(rf"[\u3002\uff01\uff1f]+{_CLOSERS}")


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text, without the white space around them; a line ends one too.

    A full stop after an abbreviation of a short English list, or after one capital letter, ends
    nothing; the full-width marks of Chinese and Japanese always do.
    """
    sentences: list[str] = []
    for line in text.split("\n"):
        sentences += _of_line(_UNSPACED_END.sub(lambda found: found[0] + "\n", line))
    return sentences


def _of_line(line: str) -> list[str]:
    start, found = 0, []
    for end in _END.finditer(line):
        before, after = line[start : end.start()], line[end.end() :]
        if end["mark"] == "." and _is_abbreviation(before, after):
            continue
        found.append(line[start : end.end()])
        start = end.end()
    pieces = "\n".join([*found, line[start:]]).split("\n")
    return [piece.strip() for piece in pieces if piece.strip()]


def _is_abbreviation(before: str, after: str) -> bool:
    last = before.split()[-1].lstrip("\"'\u201c\u2018([") if before.split() else ""
    if last.lower() in _NUMBERED:
        return after[:1].isdigit()
    return last.lower() in _ABBREVIATIONS or (len(last) == 1 and last.isupper())
