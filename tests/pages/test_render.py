"""The file itself: every text escaped, one style sheet, no script, the same bytes every time."""

import base64
import hashlib
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path

import pytest
import reports

import ketchup_cli
from ketchup_cli.cli import app
from ketchup_cli.pages.page import make_page
from ketchup_cli.pages.parts import Page
from ketchup_cli.pages.render import html, is_page
from ketchup_cli.pages.sources import gather

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = frozenset([
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "header",
    "footer",
    "main",
    "nav",
    "section",
    "article",
    "figure",
    "figcaption",
    "details",
    "summary",
    "div",
    "p",
    "a",
    "h1",
    "h2",
    "h3",
    "h4",
    "ul",
    "li",
    "span",
    "pre",
    "ins",
    "del",
    "table",
    "caption",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "svg",
    "g",
    "path",
    "rect",
    "text",
    "use",
    "defs",
    "clippath",
])


class Reader(HTMLParser):
    """Notes every element, its attributes, and the text inside and outside of `pre`."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.shown: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in {"meta"}:
            self.open.append(tag)
        if tag == "pre":
            self.shown.append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} is closed where it is not open"

    def handle_data(self, data):
        self.text += data
        if "pre" in self.open:
            self.shown[-1] += data


def page_of(store, names=("one", "two")) -> bytes:
    commands = {source.key: "ketchup <b> $(x)" for source in gather(store, names)}
    return html(make_page(gather(store, names), commands=commands, items=6, version="1"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> bytes:
    """A page whose prompts, texts, references, labels, notes and sentences are all hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    texts = [text.replace("{host}", "http://127.0.0.1:9") for text in reports.HOSTILE]
    store = reports.make_store(folder, texts=texts, label=texts[1])
    reports.make_lab(store)
    reports.make_comparison(store, words=texts[0])
    return page_of(store, ("one", "two", "lab", "versus"))


@pytest.fixture(scope="module")
def read(hostile) -> Reader:
    reader = Reader()
    reader.feed(hostile.decode("utf-8"))
    reader.close()
    return reader


def test_hostile_text_adds_no_element(read):
    assert read.tags - ALLOWED == set()
    assert read.open == []


def test_no_attribute_runs_loads_or_styles_anything(read):
    names = {name for _, name, _ in read.attributes}
    links = [value for _, name, value in read.attributes if name in {"href", "xlink:href", "src"}]

    assert not [name for name in names if name.startswith("on")]
    assert not names & {"style", "src", "srcset", "action", "formaction", "srcdoc", "data"}
    assert [link for link in links if not link.startswith("#")] == []


def test_hostile_text_is_read_as_it_was_written_and_only_in_pre(read):
    whole = "\n".join(read.shown)

    for number, text in enumerate(reports.HOSTILE):
        written = text.replace("{host}", "http://127.0.0.1:9")
        written = written.replace("\x1b", "⟨U+001B⟩").replace("\u202e", "⟨U+202E⟩")
        assert f"prompt {written}" in whole, number


def test_no_control_or_direction_character_is_left(hostile):
    assert (
        re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", hostile.decode())
        is None
    )


def test_templates_in_texts_are_not_filled_in(read):
    assert "{{ 7 * 7 }}" in read.text


def test_ids_are_unique_and_every_link_leads_somewhere(read):
    ids = [value for _, name, value in read.attributes if name == "id"]
    links = [value for _, name, value in read.attributes if name == "href"]

    assert len(set(ids)) == len(ids)
    assert {link.removeprefix("#") for link in links} <= set(ids)


def test_the_policy_allows_this_one_style_sheet_and_nothing_else(hostile):
    text = hostile.decode()
    (styles,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(styles.encode()).digest()).decode()

    assert text.count("<style") == 1
    assert (
        "content=\"default-src 'none'; style-src 'sha256-".replace("'", "&#39;")
        + digest
        + "'; base-uri 'none'; form-action 'none'\"".replace("'", "&#39;")
    ) in text
    assert text.index("Content-Security-Policy") < text.index("<style")
    assert re.findall(r"url\((?!#)|@import|expression", styles) == []


def test_every_drawing_has_words_for_it(read):
    drawings = [tag for tag, name, _ in read.attributes if (tag, name) == ("svg", "viewbox")]
    words = [value for tag, name, value in read.attributes if (tag, name) == ("svg", "aria-label")]

    assert len(drawings) == len(words) > 10
    assert min(map(len, words)) > 10


def test_the_same_artifacts_are_the_same_bytes_in_another_process(tmp_path):
    store = reports.make_store(tmp_path)
    here, there = tmp_path / "here.html", tmp_path / "there.html"
    command = ["report", "one", "--store", str(store.root), "-o"]
    # hashes of text are salted otherwise there: what follows the order of a set differs
    subprocess.run(
        [sys.executable, "-m", "ketchup_cli", *command, str(there)],
        check=True,
        env={"PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
    )

    assert app.run([*command, str(here)]) == 0
    assert here.read_bytes() == there.read_bytes()


def test_a_page_is_known_for_one():
    content = html(Page(title="<b>", findings=("a",), sections=()))

    assert is_page(content)
    assert b"<title>&lt;b&gt; " in content
    assert not is_page(b"<html>" + content[:600].replace(b"ketchup report", b""))


def test_every_file_of_the_package_that_is_no_module_is_named_for_the_wheel():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    package = Path(ketchup_cli.__file__).parent
    globs = [
        f"{name.replace('.', '/')}/{glob}"
        for name, given in settings["package-data"].items()
        for glob in given
    ]
    others = [
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    ]

    assert "ketchup_cli/pages/templates/page.html" in others
    assert [path for path in others if not any(fnmatch(path, glob) for glob in globs)] == []
