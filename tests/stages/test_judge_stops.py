"""A judgement that is stopped on its way, and given again."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import fault_server as fs
import pytest
from fault_server import serving
from judgements import judged, rows, spec, two

from ketchup_cli.store.find import artifacts
from ketchup_cli.store.layout import Store


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Take interrupts, which a shell lets what it started in the background ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_judgement_leaves_no_artifact_and_asks_nothing_twice(
    tmp_path: Path,
) -> None:
    async def interrupts(with_: fs.Conversation) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await fs.hangs(with_)

    inputs = two(tmp_path)
    with serving([fs.says("1")] * 12 + [interrupts] + [fs.says("1")]) as server:
        asked = spec(server.address, tmp_path, examples=10, controls=0, concurrency=1)
        with pytest.raises(KeyboardInterrupt):
            judged(tmp_path, inputs, asked)
        sent = len(server.bodies)
        kinds = {artifact.kind for artifact in artifacts(Store.open(tmp_path / "runs"))}
        made = judged(tmp_path, inputs, asked)

    assert (sent, "verdicts" in kinds) == (13, False)
    assert len(rows(made)) == 20
    # two questions to see what the server can do, and the one that was cut off, again
    assert len(server.bodies) == 20 + 2 + 1
