import xml.etree.ElementTree as ET

import pytest

from ketchup_cli.pages.drawing import Axes, Line, Point, curves, intervals, nice_ticks, points, told
from ketchup_cli.pages.vector import element, embedded, ink, series

SVG = f"""<?xml version="1.0"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
     width="10pt" height="5pt" viewBox="0 0 10 5">
 <metadata>who</metadata>
 <style>* {{ color: red }}</style>
 <script>alert(1)</script>
 <defs><clipPath id="p1"><rect/></clipPath><path id="m1" style="stroke: {ink("rule")}"/></defs>
 <g id="unused" clip-path="url(#p1)">
  <use xlink:href="#m1" style="fill: {series(0)}; stroke: none; stroke-width: 2; color: red"/>
  <a xlink:href="javascript:alert(1)"><text>away</text></a>
  <text style="font: 8.5px 'X', sans-serif; text-anchor: middle">a &lt;b&gt; \u202e</text>
 </g>
</svg>""".encode()
LINES = (
    Line(label="one <b>", number=0, points=(Point(x=1, y=2, bounds=(1, 3)), Point(x=2, y=4))),
    Line(label="$\\frac{1}{$ 漢", number=7, points=(Point(x=1, y=3),)),
)
AXES = Axes(x="update", y="loss", mark=1.0)


def parts(svg: str) -> list[ET.Element]:
    return list(ET.fromstring(svg).iter())


def test_styles_become_classes_and_attributes():
    (use,) = [item for item in parts(embedded(SVG, key="k", alt="")) if item.tag == "use"]

    assert use.attrib == {"href": "#k-m1", "class": "fill-s1 stroke-none", "stroke-width": "2"}


def test_only_ids_that_are_used_are_kept_and_they_are_the_drawings_own():
    found = parts(embedded(SVG, key="k", alt=""))

    assert [item.get("id") for item in found if "id" in item.attrib] == ["k-p1", "k-m1"]
    assert [item.get("clip-path") for item in found if "clip-path" in item.attrib] == ["url(#k-p1)"]


def test_scripts_styles_links_and_metadata_are_left_out():
    tags = {item.tag for item in parts(embedded(SVG, key="k", alt=""))}

    assert tags == {"svg", "defs", "clipPath", "rect", "path", "g", "use", "text"}


def test_text_has_its_size_and_hides_nothing():
    (text,) = [item for item in parts(embedded(SVG, key="k", alt="")) if item.tag == "text"]

    assert text.get("font-size") == "8.5"
    assert text.get("class") == "fill-text"
    assert text.text == "a <b> ⟨U+202E⟩"


def test_the_drawing_is_an_image_with_words_for_it():
    root = ET.fromstring(embedded(SVG, key="k", alt='a "plot" <b>'))

    assert root.get("role") == "img"
    assert root.get("aria-label") == 'a "plot" <b>'
    assert "width" not in root.attrib


def test_an_element_made_here_is_escaped():
    made = ET.tostring(element("text", "<b>&", class_="a", stroke_width=1.25), encoding="unicode")

    assert made == '<text class="a" stroke-width="1.2">&lt;b&gt;&amp;</text>'


@pytest.mark.parametrize("draw", [curves, points, intervals])
def test_every_plot_has_no_style_and_no_colour_but_the_pages(draw):
    svg = draw(LINES, AXES, key="k", alt="x")
    found = parts(svg)

    assert [item for item in found if "style" in item.attrib or item.tag == "style"] == []
    assert [item.attrib for item in found if {"fill", "stroke", "color"} & item.attrib.keys()] == []
    assert "fill-s1" in svg or "stroke-s1" in svg


@pytest.mark.parametrize("draw", [curves, points, intervals])
def test_the_same_numbers_are_the_same_bytes(draw):
    assert draw(LINES, AXES, key="k", alt="x") == draw(LINES, AXES, key="k", alt="x")


def test_the_marks_of_a_logarithmic_axis_are_numbers():
    line = Line(label="a", number=0, points=(Point(x=1, y=0.01), Point(x=100, y=1000)))
    axes = Axes(x="x", y="y", x_scale="log", y_scale="log")
    texts = [item.text for item in parts(curves([line], axes, key="k", alt="x")) if item.text]

    assert {"1", "10", "100", "0.1", "1000"} <= set(texts)
    assert not [text for text in texts if "$" in text]


@pytest.mark.parametrize("draw", [points, intervals])
def test_labels_are_text_whatever_they_hold(draw):
    texts = [item.text for item in parts(draw(LINES, AXES, key="k", alt="x")) if item.tag == "text"]

    assert "one <b>" in texts
    assert "$\\frac{1}{$ 漢" in texts


def test_words_for_lines_tell_where_they_begin_and_end():
    assert (
        told(LINES[:1]) == "one <b> goes from 2.00 at 1.00 to 4.00 at 2.00, between 2.00 and 4.00"
    )


@pytest.mark.parametrize(
    ("values", "labels"),
    [([5.5, 8.9], ["5", "10"]), ([0.6, 600], ["1", "10", "100"]), ([12.0, 12.0], ["10"])],
)
def test_ticks_are_round_numbers_around_the_values(values, labels):
    assert [label for _, label in nice_ticks(values)] == labels
