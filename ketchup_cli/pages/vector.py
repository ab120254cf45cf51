"""SVG that may stand inside a page: no styles, no ids but the page's own, colours left to the page.

A drawing names its colours by stand-ins, `ink(name)`. What comes out has classes in their place, so
that the one style sheet of the page decides, in light and in dark, and no style attribute is needed.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence

from ketchup_cli.pages.words import shown

SERIES = 6
"""Colours that tell models apart."""
_INKS = ("text", "muted", "rule", *(f"s{number}" for number in range(1, SERIES + 1)))
_STAND_INS: Mapping[str, str] = {
    name: f"#1010{number:02x}" for number, name in enumerate(_INKS, start=16)
}
_NAMES = {colour: name for name, colour in _STAND_INS.items()}
_KEPT = frozenset({
    "fill-opacity",
    "opacity",
    "stroke-dasharray",
    "stroke-linecap",
    "stroke-linejoin",
    "stroke-opacity",
    "stroke-width",
    "text-anchor",
})
_SIZE = re.compile(r"([\d.]+)px")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_DROPPED = frozenset({"metadata", "style", "script", "foreignObject", "a", "image"})


def ink(name: str) -> str:
    """Return the stand-in for a colour of the page: text, muted, rule, or s1 to s6."""
    return _STAND_INS[name]


def series(number: int) -> str:
    """Return the stand-in for the colour of the model with that number, from 0."""
    return ink(f"s{number % SERIES + 1}")


def embedded(svg: bytes, *, key: str, alt: str) -> str:
    """Return an SVG document as an element for the body of a page.

    Args:
        svg: as matplotlib writes it.
        key: a word no other drawing of the page has; ids begin with it.
        alt: what the drawing shows, for who does not see it.
    """
    root = _bare(ET.fromstring(svg))
    used = set(_references(root))
    for element in root.iter():
        _restyle(element)
        _rename(element, key, used)
    box = root.get("viewBox", "")
    root.attrib = {"viewBox": box, "class": "plot", "role": "img", "aria-label": shown(alt)}
    root.attrib["stroke-linejoin"] = "round"
    return ET.tostring(root, encoding="unicode")


def element(tag: str, text: str = "", /, **attributes: str | float) -> ET.Element:
    """Return an element of a drawing made here; `_` in a name stands for `-`, `class_` for class."""
    made = ET.Element(tag)
    for name, value in attributes.items():
        told = f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
        made.set(name.rstrip("_").replace("_", "-"), told)
    made.text = shown(text) or None
    return made


def drawn(children: Sequence[ET.Element], *, width: float, height: float, alt: str) -> str:
    """Return a drawing made of elements."""
    box = f"0 0 {width:.0f} {height:.0f}"
    root = ET.Element("svg", {"viewBox": box, "role": "img", "aria-label": shown(alt)})
    root.set("class", "plot drawn")
    root.set("width", f"{width:.0f}")
    root.extend(children)
    return ET.tostring(root, encoding="unicode")


def _bare(element: ET.Element) -> ET.Element:
    """Return a copy without namespaces, and without whatever is no drawing."""
    attributes = {_local(name): value for name, value in element.attrib.items()}
    copy = ET.Element(_local(element.tag), attributes)
    copy.text = shown(element.text) if element.text else None
    copy.extend(_bare(child) for child in element if _local(child.tag) not in _DROPPED)
    return copy


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _references(root: ET.Element) -> Iterator[str]:
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == "href":
                yield value.removeprefix("#")
            yield from _REFERENCE.findall(value)


def _rename(element: ET.Element, key: str, used: set[str]) -> None:
    name = element.attrib.pop("id", None)
    if name in used:
        element.set("id", f"{key}-{name}")
    if "href" in element.attrib:
        element.set("href", f"#{key}-{element.attrib['href'].removeprefix('#')}")
    if "clip-path" in element.attrib:
        element.set("clip-path", _REFERENCE.sub(rf"url(#{key}-\1)", element.attrib["clip-path"]))


def _restyle(element: ET.Element) -> None:
    """Turn a style attribute into classes for colours and attributes for all else."""
    declarations = element.attrib.pop("style", "")
    if element.tag == "text":
        # what matplotlib leaves out is black, which no dark page can show
        declarations = f"fill: {ink('text')}; {declarations}"
    classes: dict[str, str] = {}
    for declaration in filter(None, declarations.split(";")):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name in {"fill", "stroke"}:
            classes[name] = f"{name}-{_NAMES.get(value, 'none' if value == 'none' else 'text')}"
        elif name in {"font", "font-size"}:
            size = _SIZE.search(value)
            element.set("font-size", size[1] if size else "9")
        elif name in _KEPT:
            element.set(name, value)
    if classes:
        element.set("class", " ".join(classes.values()))
