import io
import os
import pty
import select

import pytest

from ketchup_cli.cli import console as consoles
from ketchup_cli.cli.console import (
    Console,
    Rate,
    clean,
    human_bytes,
    human_seconds,
    table_lines,
)


class Clock:
    """A clock that tests move by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr(consoles, "time", moved)
    return moved


def lines_of(clock: Clock, steps: list[tuple[float, int]], *, total: int = 100) -> list[str]:
    """Return the plain lines of a count that gets `(seconds, units)` after another."""
    stream = io.StringIO()
    with Console(stream=stream).progress("caching", total=total, unit="rows") as progress:
        for seconds, count in steps:
            clock.now += seconds
            progress.advance(count, tokens=10 * count)
    return stream.getvalue().splitlines()


def test_plain_progress_has_a_first_and_a_last_line(clock):
    lines = lines_of(clock, [(0.1, 50), (0.1, 50)])

    assert lines[0] == "caching         0/100 rows"
    assert lines[1].startswith("caching         100/100 (100 %)")
    assert len(lines) == 2


def test_a_line_is_due_after_30_seconds_however_little_is_done(clock):
    lines = lines_of(clock, [(29.0, 1), (1.0, 1), (1.0, 1)], total=1000)

    assert [line.split()[1] for line in lines] == ["0/1,000", "2/1,000", "3/1,000"]


def test_a_line_is_due_after_5_percent(clock):
    lines = lines_of(clock, [(3.0, 4), (3.0, 1), (3.0, 4), (3.0, 91)])

    assert [line.split()[1] for line in lines] == ["0/100", "5/100", "100/100"]


def test_a_quick_job_prints_few_lines(clock):
    assert len(lines_of(clock, [(0.01, 1)] * 100)) == 2


def test_a_line_tells_rate_tokens_and_time_left(clock):
    lines = lines_of(clock, [(30.0, 20), (1.0, 80)])

    assert lines[1] == "caching         20/100 (20 %), 0.67 rows/s, 7 tok/s, 2 min 0 s left"


def test_a_resumed_count_starts_where_it_stopped(clock):
    del clock
    stream = io.StringIO()

    with Console(stream=stream).progress("caching", total=10, unit="rows", done=4):
        pass

    assert stream.getvalue() == "caching         4/10 rows\n"


def test_the_status_stands_at_the_end_of_the_line(clock):
    stream = io.StringIO()
    with Console(stream=stream).progress("update", total=1, unit="updates") as progress:
        progress.status("loss \x1b[1m1.5")
        clock.now += 1
        progress.advance()

    assert stream.getvalue().splitlines()[-1].endswith("loss 1.5")


def test_a_rate_looks_back_half_a_minute_only():
    rate = Rate(0.0)
    rate.add(1.0, 1000, tokens=0)
    for second in range(2, 62):
        rate.add(float(second), 2, tokens=6)

    assert rate.units_per_s(61.0) == pytest.approx(2.0, rel=0.05)
    assert rate.tokens_per_s(61.0) == pytest.approx(6.0, rel=0.05)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;http://evil\x07link\x1b]8;;\x07", "link"),
        ("a\x00b\x07c\x9bd", "abcd"),
        ("one\ntwo\tthree\r", "one two three"),
        ("\u202eright to left\u202c", "right to left"),
        ("[red]markup[/red]", "[red]markup[/red]"),
        ("ünï日本", "ünï日本"),
    ],
)
def test_control_characters_never_reach_the_terminal(text, shown):
    assert clean(text) == shown


def test_a_note_is_a_label_and_a_sentence_on_one_line():
    stream = io.StringIO()

    Console(stream=stream).note("plan", "first\nsecond\x1b[2J")

    assert stream.getvalue() == "plan            first second\n"


def test_a_long_label_does_not_run_into_its_figure():
    stream = io.StringIO()
    Console(stream=stream).note("gsm8k-numeric/pass@8", "15.93")

    assert stream.getvalue() == "gsm8k-numeric/pass@8 15.93\n"


def test_columns_are_as_wide_as_their_widest_cell_on_screen():
    lines = table_lines(("a", "b"), [("日本", "x"), ("c\x07", "y")])

    assert lines == ["a     b", "日本  x", "c     y"]


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (2_300_000, "2.3 MB"), (4_500_000_000_000, "4.5 TB")],
)
def test_sizes_have_one_to_three_digits_before_the_point(count, shown):
    assert human_bytes(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (9.5, "9.5 s"), (58.4, "58 s"), (178, "2 min 58 s"), (4320, "1 h 12 min")],
)
def test_durations_read_as_people_say_them(seconds, shown):
    assert human_seconds(seconds) == shown


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, *, term: str = "xterm") -> str:
    """Return what a count of two writes to a terminal."""
    monkeypatch.setenv("TERM", term)
    master, slave = pty.openpty()
    with os.fdopen(slave, "w", encoding="utf-8") as stream:
        console = Console(stream=stream)
        with console.progress("caching", total=2, unit="rows") as progress:
            progress.advance(tokens=5)
            console.note("note", "[red]as it is[/red]")
            progress.advance(tokens=5)
        stream.flush()
        seen = b""
        while select.select([master], [], [], 0.1)[0]:
            seen += os.read(master, 65536)
    os.close(master)
    return seen.decode("utf-8")


def test_a_terminal_gets_a_bar(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)

    seen = on_a_terminal(monkeypatch)

    assert "━" in seen
    assert "[red]as it is[/red]" in seen
    assert "2/2 rows in" in seen


def test_no_color_means_no_colour(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")

    assert "\x1b[3" not in on_a_terminal(monkeypatch)


def test_a_dumb_terminal_gets_plain_lines(monkeypatch):
    seen = on_a_terminal(monkeypatch, term="dumb")

    assert "━" not in seen
    assert "\x1b" not in seen


def test_json_forbids_the_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    with os.fdopen(slave, "w", encoding="utf-8") as stream:
        Console(plain=True, stream=stream).progress("caching", total=2, unit="rows").__enter__()
        stream.flush()

        assert os.read(master, 4096) == b"caching         0/2 rows\r\n"
    os.close(master)
