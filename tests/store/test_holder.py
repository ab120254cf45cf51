"""Who holds a lock, asked without taking it."""

import os
from pathlib import Path

from storing import building

from ketchup_cli.store.layout import Store
from ketchup_cli.store.lock import holder, locked


def test_a_lock_that_is_held_names_its_holder(store: Store) -> None:
    with building(store) as build:
        found = holder(store.lock_path(build.id))

    assert found is not None
    assert (found.held, found.label) == (True, "a test")
    assert found.process == f"pid {os.getpid()} on {os.uname().nodename}"


def test_a_lock_that_was_let_go_still_names_who_had_it(store: Store) -> None:
    with building(store) as build:
        path = store.lock_path(build.id)
    found = holder(path)

    assert found is not None
    assert (found.held, found.label) == (False, "a test")


def test_a_lock_nobody_ever_took_has_no_holder(tmp_path: Path) -> None:
    assert holder(tmp_path / "none.lock") is None
    assert not (tmp_path / "none.lock").exists()


def test_a_note_that_makes_no_sense_leaves_the_words_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text('{"pid": "x"}')
    found = holder(path)

    assert found is not None
    assert (found.held, found.label, found.process) == (False, "", "")


def test_a_run_that_begins_while_somebody_looks_is_not_turned_away(tmp_path: Path) -> None:
    import fcntl
    import threading

    path = tmp_path / "a.lock"
    path.touch()
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    timer = threading.Timer(0.04, os.close, (descriptor,))
    timer.start()

    with locked(path, label="a run"):
        found = holder(path)

    timer.join()
    assert found is not None
    assert found.held
