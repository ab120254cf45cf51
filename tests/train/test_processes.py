import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import runs
import tiny
from accelerate import Accelerator
from safetensors.torch import load_file

from ketchup_cli.specs import OptimizerSpec
from ketchup_cli.train.loop import train
from ketchup_cli.train.processes import of_first, summed

CLOSE = 1e-5
"""Two gradients are added in another order; a few steps later the weights differ by rounding."""

CASES = {"nll": runs.NLL, "mix": (*runs.KETCHUP, *runs.NLL, {"name": "kl", "prefixes": "student"})}
OPTIMIZER = OptimizerSpec(learning_rate=1e-3, warmup=0)

SCRIPT = """
import sys
from pathlib import Path
from safetensors.torch import save_file
import test_processes as cases

folder = Path(sys.argv[1])
for name in cases.CASES:
    run = cases.trained(folder / name, name, accumulate=1)
    assert run.accelerator.num_processes == 2
    if run.accelerator.is_main_process:
        weights = {key: value.clone() for key, value in run.policy.model.state_dict().items()}
        save_file(weights, folder / f"{name}.safetensors")
rank = run.accelerator.process_index
outcome = cases.train(cases.judged(folder / "judged", [3.0 + rank, 2.0 - rank, 2.5 - 3 * rank]))
(folder / "told").write_text(f"{outcome.best_update} {outcome.best}")
"""


def trained(folder: Path, case: str, *, accumulate: int):
    spec = runs.make_spec(updates=3, accumulate=accumulate, optimizer=OPTIMIZER)
    run = runs.make_run(folder, tables=CASES[case], spec=spec)
    train(run)
    return run


def judged(folder: Path, losses: list[float]):
    """Return a run whose dev figures are these."""
    return runs.make_run(folder, evaluate=runs.planted(losses, "loss"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what two processes made together; each has its own for its state."""
    folder = tmp_path_factory.mktemp("pair")
    port = free_port()
    started = []
    for rank in range(2):
        own = folder / str(rank)
        for case in (*CASES, "judged"):
            tiny.make_policy_folder(own / case / "student", "t5")
        env = {
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        }
        command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(own)]
        started.append(
            subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        )
    ends = [
        (process.communicate(timeout=300)[0].decode(), process.returncode) for process in started
    ]
    assert [code for _, code in ends] == [0, 0], "\n".join(text for text, _ in ends)
    return folder / "0"


@pytest.mark.parametrize("case", CASES)
def test_two_processes_give_the_weights_of_one_with_the_same_batches(
    case: str, pair: Path, tmp_path: Path
) -> None:
    alone = trained(tmp_path, case, accumulate=2)
    found, wanted = load_file(pair / f"{case}.safetensors"), runs.weights(alone.policy)
    before = runs.weights(tiny.make_policy("t5"))

    assert runs.distance(found, wanted) < CLOSE
    assert runs.distance(before, wanted) > 100 * CLOSE


@pytest.mark.parametrize("case", CASES)
def test_two_processes_log_the_figures_of_all_tokens(case: str, pair: Path, tmp_path: Path) -> None:
    trained(tmp_path, case, accumulate=2)
    wanted, found = runs.log_of(tmp_path), runs.log_of(pair / case)
    timings = {"seconds", "tokens_per_s"}

    for one, other in zip(wanted, found, strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - timings:
            assert other[name] == pytest.approx(one[name], abs=1e-4), name


def test_all_processes_decide_by_the_figures_of_the_first(pair: Path) -> None:
    told = [(pair.parent / rank / "told").read_text() for rank in ("0", "1")]

    assert told == ["3 2.0"] * 2


def test_alone_a_process_has_the_sums_already() -> None:
    assert summed(Accelerator(cpu=True), (1.5, 2.0)) == [1.5, 2.0]


def test_alone_a_process_decides_by_its_own_figures() -> None:
    assert of_first(Accelerator(cpu=True), {"bleu": 1.0}) == {"bleu": 1.0}
