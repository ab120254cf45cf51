import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ketchup_cli.errors import Damaged
from ketchup_cli.watching.follow import Follower


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


@pytest.fixture
def follower() -> Iterator[Follower]:
    """One who has not looked yet."""
    follower = Follower()
    yield follower
    follower.close()


def append(path: Path, *updates: int, end: str = "\n") -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("\n".join(json.dumps({"update": update}) for update in updates) + end)


def updates_of(lines: list) -> list[int]:
    return [line["update"] for line in lines]


def test_a_look_gives_what_was_appended_since_the_one_before(
    follower: Follower, path: Path
) -> None:
    append(path, 1, 2)
    first = follower.look(path)
    append(path, 3)

    assert updates_of(first) == [1, 2]
    assert updates_of(follower.look(path)) == [3]
    assert follower.look(path) == []


def test_a_torn_last_line_waits_until_it_is_whole(follower: Follower, path: Path) -> None:
    append(path, 1)
    with path.open("a") as file:
        file.write('{"upda')
    first = follower.look(path)
    with path.open("a") as file:
        file.write('te": 2}\n')

    assert updates_of(first) == [1]
    assert updates_of(follower.look(path)) == [2]
    assert follower.unreadable == 0


def test_a_file_that_is_not_there_yet_has_no_lines(follower: Follower, path: Path) -> None:
    before = follower.look(path)
    opened_before = follower.opened
    append(path, 1)

    assert (before, opened_before) == ([], False)
    assert updates_of(follower.look(path)) == [1]
    assert follower.opened


def test_a_log_that_was_replaced_is_read_anew(follower: Follower, path: Path) -> None:
    append(path, 1, 2, 3)
    follower.look(path)
    other = path.with_name("other")
    append(other, 1, 2, 9, 10)
    os.replace(other, path)

    assert updates_of(follower.look(path)) == [1, 2, 9, 10]
    assert follower.restarted


def test_a_log_that_was_cut_is_read_anew(follower: Follower, path: Path) -> None:
    append(path, 1, 2, 3)
    follower.look(path)
    path.write_text('{"update": 7}\n')

    assert updates_of(follower.look(path)) == [7]
    assert follower.restarted


def test_a_log_that_moved_with_its_folder_goes_on(follower: Follower, tmp_path: Path) -> None:
    for folder in ("building", "done"):
        (tmp_path / folder).mkdir()
    append(tmp_path / "building" / "log", 1)
    follower.look(tmp_path / "building" / "log")
    append(tmp_path / "building" / "log", 2)
    os.rename(tmp_path / "building" / "log", tmp_path / "done" / "log")

    assert updates_of(follower.look(tmp_path / "done" / "log")) == [2]
    assert not follower.restarted


@pytest.mark.parametrize("text", ["{torn", "[1]", "7", "[" * 100_000], ids=lambda text: text[:5])
def test_a_line_that_is_no_table_is_counted_and_the_others_are_read(
    follower: Follower, path: Path, text: str
) -> None:
    append(path, 1)
    with path.open("a") as file:
        file.write(text + "\n")
    append(path, 2)

    assert updates_of(follower.look(path)) == [1, 2]
    assert follower.unreadable == 1


def test_a_link_in_place_of_the_log_is_refused(follower: Follower, path: Path) -> None:
    append(path.with_name("elsewhere"), 1)
    path.symlink_to(path.with_name("elsewhere"))

    with pytest.raises(Damaged, match="not a regular file"):
        follower.look(path)
