"""Which run is meant, and what has become of it: builds of a few bytes with a log."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
from watched import LINES, Killed, at_work, commit, finished, killed, write

from ketchup_cli.errors import NotFound, SpecError
from ketchup_cli.store import find
from ketchup_cli.store.build import begin
from ketchup_cli.store.layout import Store
from ketchup_cli.watching.runs import LOG, Watched, find_run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "runs")


def test_a_run_under_way_is_found_by_the_name_it_will_have(store: Store) -> None:
    with at_work(store) as build:
        found = find_run(store, "kl")

    assert (found.id, found.held, found.logged) == (build.id, True, True)


def test_a_run_under_way_is_found_by_the_first_digits_of_its_id(store: Store) -> None:
    with at_work(store) as build:
        assert find_run(store, build.id[:6]).id == build.id


def test_no_name_means_the_run_that_is_at_work(store: Store) -> None:
    killed(store, "old", seed=1)
    with (
        at_work(store, seed=2) as build,
        at_work(store, "cache", seed=3, lines=()),
    ):
        assert find_run(store, None).id == build.id


def test_no_name_and_several_runs_lists_them(store: Store) -> None:
    with (
        at_work(store, "one", seed=1),
        at_work(store, "two", seed=2),
        pytest.raises(SpecError, match="2 runs are at work") as caught,
    ):
        find_run(store, None)

    assert "`one`" in caught.value.message
    assert "`two`" in caught.value.message


def test_no_name_and_no_run_says_so(store: Store) -> None:
    killed(store)

    with pytest.raises(NotFound, match="no run is at work"):
        find_run(store, None)


def test_a_run_at_work_is_preferred_to_an_artifact_of_its_name(store: Store) -> None:
    finished(store, seed=1)
    with at_work(store, seed=2) as build:
        assert find_run(store, "kl").id == build.id


@pytest.mark.parametrize("newest", ["artifact", "killed"])
def test_of_an_artifact_and_a_killed_run_the_newest_is_meant(store: Store, newest: str) -> None:
    artifact, other = finished(store, seed=1), killed(store, seed=2)
    age_s = -1000 if newest == "artifact" else 1000
    log = store.staging_path(other) / "logs" / LOG
    when = log.stat().st_mtime + age_s
    os.utime(log, (when, when))

    assert find_run(store, "kl").id == (artifact.id if newest == "artifact" else other)


def test_an_artifact_without_a_log_of_training_is_refused(store: Store) -> None:
    with begin(store, kind="corpus", version=1, spec={}, inputs=(), label="x") as build:
        build.write_bytes("a", b"a")
        artifact = build.commit(summary={}, signature="corpus/1|v:1", environment={}, seconds=0.1)
    find.give_name(store, "words", artifact)

    with pytest.raises(NotFound, match="`words` is a corpus that `corpus` made"):
        find_run(store, "words")


def test_an_unknown_name_is_an_error_with_the_nearest(store: Store) -> None:
    finished(store, "kl-student")

    with pytest.raises(NotFound, match="nearest: `kl-student`"):
        find_run(store, "kl-studnet")


def test_a_run_is_waited_for_then_runs_then_is_finished(store: Store) -> None:
    states = []
    with at_work(store, lines=()) as build:
        watched = Watched(store, find_run(store, "kl"))
        states.append(watched.look())
        write(build, LINES)
        states.append(watched.look())
        write(build, [{"update": 2, "loss": 1.0, "seconds": 2.0}])
        commit(build)
        states.append(watched.look())

    assert states == ["waiting", "running", "finished"]
    assert watched.curves.training["loss"].values == [2.0, 1.0]
    assert (watched.curves.total, watched.curves.best_update) == (4, 4)
    watched.close()


def test_a_run_whose_process_is_gone_is_dead(store: Store) -> None:
    with suppress(Killed), at_work(store):
        watched = Watched(store, find_run(store, "kl"))
        before = watched.look()
        raise Killed

    assert (before, watched.look()) == ("running", "dead")
    watched.close()


def test_a_run_that_begins_anew_forgets_what_it_had_logged(store: Store) -> None:
    with at_work(store) as build:
        watched = Watched(store, find_run(store, "kl"))
        watched.look()
        path = build.log_path(LOG)
        path.with_name("new").write_text('{"update": 1, "loss": 7.0}\n')
        os.replace(path.with_name("new"), path)
        watched.look()

    assert watched.curves.training["loss"].values == [7.0]
    watched.close()


def test_looking_changes_nothing(store: Store) -> None:
    id = killed(store)
    folder = store.staging_path(id)
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}
    watched = Watched(store, find_run(store, "kl"))
    watched.look()
    watched.close()

    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*")} == before
    assert folder.is_dir()
