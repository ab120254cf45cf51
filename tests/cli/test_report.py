"""`ketchup report` as it is typed: where the page goes, what it leaves alone, what it says."""

import os
from pathlib import Path

import pytest
import reports

from ketchup_cli.pages.render import is_page


@pytest.fixture
def store(folder: Path) -> None:
    reports.make_store(folder)


@pytest.fixture
def report(ketchup, store):
    """Types `ketchup report` with few items, and whatever else is given."""
    del store
    return lambda *arguments: ketchup("report", *arguments, "--items", "1")


def test_the_path_goes_to_stdout_and_all_else_to_stderr(report, folder):
    done = report("one-scores", "-o", "page.html")

    assert done.code == 0
    assert done.out == "page.html\n"
    assert "one-scores@1" in done.err
    assert is_page((folder / "page.html").read_bytes())


def test_a_dry_run_writes_nothing(report, folder):
    done = report("one", "--dry-run")

    assert done.code == 0
    assert "nothing was written" in done.err
    assert not (folder / "report.html").exists()


def test_json_tells_what_is_on_the_page(report, folder):
    found = report("words", "--json").json

    assert found["path"] == "report.html"
    assert found["bytes"] == (folder / "report.html").stat().st_size
    assert [item["name"] for item in found["artifacts"]] == ["words@1"]


def test_an_older_page_is_replaced(report, folder):
    report("words")
    first = (folder / "report.html").read_bytes()
    report("start")
    second = (folder / "report.html").read_bytes()
    report("words")

    assert first != second
    assert (folder / "report.html").read_bytes() == first
    assert [path.name for path in folder.iterdir() if path.name.endswith(".part")] == []


def test_a_file_that_no_report_wrote_is_left_alone(report, folder):
    (folder / "report.html").write_text("<html>mine</html>", encoding="utf-8")
    done = report("words")

    assert done.code == 2
    assert "no report wrote it" in done.err
    assert (folder / "report.html").read_text(encoding="utf-8") == "<html>mine</html>"


def test_a_link_is_not_followed(report, folder):
    (folder / "mine.txt").write_text("mine", encoding="utf-8")
    (folder / "report.html").symlink_to("mine.txt")
    done = report("words")

    assert done.code == 2
    assert (folder / "mine.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("output", [".", "missing/report.html"], ids=["a folder", "no folder"])
def test_a_place_that_holds_no_file_is_a_usage_error(report, output):
    assert report("words", "-o", output).code == 2


def test_an_unknown_name_leaves_no_file(report, folder):
    done = report("wrods")

    assert done.code == 2
    assert "`words`" in done.err
    assert not (folder / "report.html").exists()


def test_a_damaged_score_leaves_no_file(report, folder, ketchup):
    path = Path(ketchup("path", "one-scores").out.strip()) / "scores.json"
    os.chmod(path, 0o644)
    path.write_bytes(path.read_bytes().replace(b"3", b"4"))
    done = report("one")

    assert done.code == 3
    assert "differs from its manifest" in done.err
    assert not (folder / "report.html").exists()


def test_names_are_needed(ketchup):
    assert ketchup("report").code == 2
