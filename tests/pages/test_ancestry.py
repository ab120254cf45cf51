import xml.etree.ElementTree as ET

from ketchup_cli.pages.ancestry import BOX, Box, direct_edges, drawing


def box(key: str, *reads: str) -> Box:
    return Box(
        key=key,
        name=f"name of {key}",
        lines=("corpus 1", "by"),
        reads=reads,
        strong=False,
        broken=False,
    )


CHAIN = (box("a"), box("b", "a"), box("c", "a", "b"), box("d", "c", "a"))


def frames(svg: str) -> list[tuple[float, float]]:
    """Left and top of every box, in the order they were given."""
    rects = list(ET.fromstring(svg).iter("rect"))
    return [(float(item.get("x")), float(item.get("y"))) for item in rects]


def test_an_edge_that_a_longer_way_implies_is_left_out():
    assert direct_edges(CHAIN) == [("a", "b"), ("b", "c"), ("c", "d")]


def test_what_was_read_stands_above_what_reads_it():
    tops = [top for _, top in frames(drawing(CHAIN, alt=""))]

    assert tops == sorted(tops)
    assert len(set(tops)) == 4


def test_no_box_lies_on_another_and_all_are_inside():
    wide = (
        *(box(f"s{n}") for n in range(5)),
        *(box(f"t{n}", f"s{n}", f"s{(n + 2) % 5}") for n in range(5)),
        box("u", "t0", "t3", "s1"),
        box("alone"),
    )
    svg = drawing(wide, alt="")
    places = frames(svg)
    _, _, width, height = map(float, ET.fromstring(svg).get("viewBox").split())

    for number, (x, y) in enumerate(places):
        assert 0 <= x <= width - BOX[0]
        assert 0 <= y <= height - BOX[1]
        for u, v in places[:number]:
            assert abs(x - u) >= BOX[0] or abs(y - v) >= BOX[1]


def test_a_line_that_passes_a_rank_is_drawn_once():
    crossing = (box("a"), box("x"), box("b", "a"), box("c", "b", "x"), box("d", "c"), box("e", "d"))
    edges = [*direct_edges(crossing)]
    paths = list(ET.fromstring(drawing(crossing, alt="")).iter("path"))

    assert len(paths) == len(edges)


def test_one_box_alone_is_a_drawing():
    assert len(frames(drawing((box("a"),), alt=""))) == 1


def test_a_parent_that_is_not_shown_is_passed_over():
    assert direct_edges((box("a", "gone"),)) == []


def test_names_are_cut_and_escaped():
    long = Box(
        key="a",
        name="<b>" * 20,
        lines=("x" * 99, ""),
        reads=(),
        strong=True,
        broken=True,
    )
    svg = drawing((long,), alt='"><b>')

    assert "<b>" not in svg
    assert "…" in svg
    assert ET.fromstring(svg).get("aria-label") == '"><b>'
