import os
from pathlib import Path

import pytest
from storing import building, publish

from ketchup_cli.errors import ArtifactError, Busy
from ketchup_cli.store.layout import Store


def test_a_second_writer_is_told_pid_and_host_of_the_first(store: Store) -> None:
    with building(store), pytest.raises(Busy) as caught, building(store):
        pass

    host = os.uname().nodename
    assert caught.value.message.startswith(f"`a test` is busy: pid {os.getpid()} on {host} holds `")
    assert caught.value.exit_code == 6


def test_another_recipe_can_be_built_at_the_same_time(store: Store) -> None:
    with building(store, spec={"seed": 0}) as one, building(store, spec={"seed": 1}) as other:
        assert one.id != other.id


def test_the_lock_file_stays_after_the_build(store: Store) -> None:
    artifact = publish(store)

    assert store.lock_path(artifact.id).is_file()


def test_a_link_in_place_of_the_lock_is_not_followed(store: Store, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    with building(store) as build:
        id = build.id
    store.lock_path(id).unlink()
    store.lock_path(id).symlink_to(victim)

    with pytest.raises(ArtifactError, match=r"cannot open the lock"), building(store):
        pass

    assert victim.read_text() == "precious"
