"""What nothing refers to is found and removed; all else stays, whatever happens."""

import os
import time

import pytest
from storing import building, commit, interrupted, numbered, tree

from ketchup_cli.errors import Busy, Damaged
from ketchup_cli.store import find, garbage
from ketchup_cli.store.garbage import REMOVED, find_garbage, remove_garbage, require_quiet
from ketchup_cli.store.layout import Store

LATER_S = 3600.0


def found(store: Store, *kept: str, older_s: float = 0.0) -> list[str]:
    """Return the ids of what would go in an hour."""
    now_s = time.time() + LATER_S
    return [item.id for item in find_garbage(store, kept=kept, older_s=older_s, now_s=now_s)]


def collect(store: Store) -> None:
    for item in find_garbage(store, older_s=0.0, now_s=time.time() + LATER_S):
        remove_garbage(store, item)


def test_what_no_name_refers_to_is_found_and_what_one_means_is_not(store: Store) -> None:
    named, loose = numbered(store, 1), numbered(store, 2)
    find.give_name(store, "a", named)

    assert found(store) == [loose.id]


def test_what_a_name_meant_earlier_is_kept(store: Store) -> None:
    for seed in (1, 2):
        find.give_name(store, "a", numbered(store, seed))

    assert found(store) == []


def test_what_a_kept_artifact_was_made_from_is_kept_however_far_back(store: Store) -> None:
    first = numbered(store, 1)
    second = numbered(store, 2, of=(find.as_input(first, "corpus"),))
    third = numbered(store, 3, of=(find.as_input(second, "corpus"),))
    find.give_name(store, "a", third)

    assert found(store) == []


def test_what_somebody_else_refers_to_is_kept(store: Store) -> None:
    loose = numbered(store, 1)

    assert found(store, loose.id) == []


def test_what_is_young_is_left_alone(store: Store) -> None:
    numbered(store, 1)

    assert found(store, older_s=2 * LATER_S) == []


def test_a_run_that_was_given_up_goes_and_one_at_work_stays(store: Store) -> None:
    with interrupted(store) as build:
        build.write_bytes("a", b"a")
    with building(store, spec={"seed": 7}) as working:
        working.write_bytes("a", b"a")
        listed = found(store)
        commit(working)

    assert listed == [build.id]


def test_after_a_removal_all_that_is_kept_is_as_it_was(store: Store) -> None:
    find.give_name(store, "a", numbered(store, 1))
    before = [path for path in tree(store.root) if not path.endswith(".lock")]
    numbered(store, 2)
    with interrupted(store) as build:
        build.write_bytes("a", b"a")
    collect(store)

    assert [path for path in tree(store.root) if not path.endswith(".lock")] == before


def test_a_kill_in_the_middle_leaves_a_rest_that_goes_the_next_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = numbered(store, 1)

    def killed(path) -> None:
        if path.exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(garbage, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            collect(store)

    assert list(find.artifacts(store)) == []
    assert [path.name for path in store.staging.glob(".*")] == [f"{REMOVED}{artifact.id}"]
    collect(store)
    assert list(store.staging.glob(".*")) == []


def test_nothing_is_removed_while_somebody_is_at_work(store: Store) -> None:
    with building(store), pytest.raises(Busy, match="`a test` is at work"):
        require_quiet(store)

    require_quiet(store)


def test_an_artifact_that_cannot_be_read_stops_the_search(store: Store) -> None:
    broken = numbered(store, 1)
    os.chmod(broken.path / "manifest.json", 0o644)
    (broken.path / "manifest.json").write_text("{")

    with pytest.raises(Damaged):
        found(store)
