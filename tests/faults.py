"""A small build whose every call to the system can fail.

Run as a program, so that the processes it forks and kills are small:

    python faults.py each FAULT FOLDER      the fault at the first call, at the second, to the last
    python faults.py random COUNT FOLDER    SIGKILL at random moments, until the build is done
    python faults.py race COUNT FOLDER      four builds of one artifact at a time, COUNT times
    python faults.py hold LABEL FOLDER      take the lock of one artifact and keep it
    python faults.py once UMASK FOLDER      build, and print the digest

Otherwise prints one JSON document: how often something was injected, and every promise that was broken.
"""

import errno
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ketchup_cli.errors import KetchupError
from ketchup_cli.store.artifact import Artifact
from ketchup_cli.store.build import begin
from ketchup_cli.store.find import artifacts, give_name, names
from ketchup_cli.store.layout import Store
from ketchup_cli.store.verify import verify

FAULTS = ("kill-before", "kill-after", "torn-write", "short-write", "ENOSPC", "EIO")
CALLS = (
    "open", "write", "fsync", "rename", "mkdir", "rmdir", "unlink", "ftruncate", "chmod", "pread",
)  # fmt: skip
CHANGES = ("write", "rename", "mkdir", "rmdir", "unlink", "ftruncate")
STEPS = {"EIO": 4}
"""From one call that fails to the next, where it is not every one."""
SHARDS = 3
UNEXPECTED = 99
NEXT_RUNS = 20
WRITERS = 4


def build(root: Path) -> Artifact:
    """Do what a stage does: shards, a checkpoint, a library's files, a log, rows, a name."""
    store = Store.open(root)
    with begin(
        store, kind="model", version=1, spec={"shards": SHARDS}, inputs=(), label="faults"
    ) as work:
        if work.published is not None:
            artifact = work.published
        else:
            for number in range(SHARDS):
                name = f"shards/{number}.bin"
                if not work.has(name):
                    work.write_bytes(name, bytes([number]) * 3000)
            (work.state_path / "step").write_text(str(SHARDS))
            if not work.has("weights.bin"):
                scratch = work.scratch()
                (scratch / "config.json").write_bytes(b"{}")
                (scratch / "weights.bin").write_bytes(b"w" * 2000)
                work.adopt(scratch)
            with work.log_path("metrics.jsonl").open("a") as log:
                log.write('{"update": 1}\n')
            work.write_rows("rows.jsonl", ({"id": number} for number in range(9)))
            artifact = work.commit(summary={}, signature="", environment={}, seconds=0.0)
    give_name(store, "made", artifact)
    return artifact


@dataclass
class Injector:
    """Replaces functions of `os` by ones that fail at the chosen call, once."""

    fault: str
    at: int
    fired: Path
    seen: int = 0
    real: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def install(self) -> None:
        for name in CALLS:
            self.real[name] = getattr(os, name)
            setattr(os, name, self._replacement(name))

    def calls(self) -> tuple[str, ...]:
        """Return the calls this fault makes a difference at."""
        if self.fault.endswith("-write"):
            return ("write",)
        # after any other call, nothing has changed that the kill before the next would not meet
        return CHANGES if self.fault == "kill-after" else CALLS

    def _replacement(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name not in self.calls():
                return self.real[name](*args, **kwargs)
            self.seen += 1
            if self.seen != self.at:
                return self.real[name](*args, **kwargs)
            self.fired.write_text(name)
            return self._fail(name, args, kwargs)

        return call

    def _fail(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.fault in {"ENOSPC", "EIO"}:
            number = getattr(errno, self.fault)
            raise OSError(number, os.strerror(number))
        if self.fault.endswith("-write"):
            descriptor, data = args
            done = self.real["write"](descriptor, data[: len(data) // 2])
            if self.fault == "short-write":
                return done
        elif self.fault == "kill-after":
            with suppress(OSError):
                self.real[name](*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
        return None


def child(root: Path, *, injector: Injector | None = None) -> int:
    """Fork a process that builds, and return its id."""
    pid = os.fork()
    if pid:
        return pid
    code = UNEXPECTED
    try:
        if injector is not None:
            injector.install()
        build(root)
        code = 0
    except KetchupError as error:
        code = error.exit_code
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        os._exit(code)


def wait(pid: int) -> int:
    """Return the exit code of a child; minus the number where a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def layout(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))


@dataclass
class Judge:
    """Knows what an uninterrupted build looks like, and says what is worse."""

    root: Path
    injected: int = 0
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        reference = self.root / "reference"
        self.digest = build(reference).digest
        self.layout = layout(reference)
        shutil.rmtree(reference)

    def visible(self, root: Path, *, when: str) -> None:
        """Check that whatever a reader can see is complete and right."""
        try:
            seen = list(artifacts(Store.open(root, create=False)))
        except KetchupError as error:
            self.problems.append(f"{when}: {error.message}")
            return
        for artifact in seen:
            if artifact.digest != self.digest or not verify(artifact.path).intact:
                self.problems.append(f"{when}: an incomplete object is visible")

    def finished(self, root: Path, *, when: str) -> None:
        """Check that the next run leaves just what an uninterrupted one does."""
        code = wait(child(root))
        if code != 0:
            self.problems.append(f"{when}: the next run ends with {code}")
            return
        self.visible(root, when=when)
        if layout(root) != self.layout:
            odd = sorted(set(layout(root)) ^ set(self.layout))
            self.problems.append(f"{when}: left or lost {odd[:4]}")
        if len(names(Store.open(root, create=False)).get("made", ())) != 1:
            self.problems.append(f"{when}: the name was not given once")


def fails_as_expected(fault: str, code: int) -> bool:
    expected = {
        "kill-before": {-signal.SIGKILL},
        "kill-after": {-signal.SIGKILL},
        "torn-write": {-signal.SIGKILL},
        "short-write": {0},
        # 0 where only tidying up failed
        "ENOSPC": {0, 28},
        "EIO": {0, 1},
    }
    return code in expected[fault]


def inject_each(fault: str, folder: Path) -> Judge:
    """Let every call fail in turn, in a fresh store each time."""
    judge = Judge(folder)
    fired = folder / "fired"
    for at in range(1, 10_000, STEPS.get(fault, 1)):
        root = folder / "store"
        code = wait(child(root, injector=Injector(fault=fault, at=at, fired=fired)))
        if not fired.exists():
            return judge
        when = f"{fault} at call {at} ({fired.read_text()})"
        fired.unlink()
        judge.injected += 1
        if not fails_as_expected(fault, code):
            judge.problems.append(f"{when}: the run ended with {code}")
        judge.visible(root, when=when)
        judge.finished(root, when=when)
        shutil.rmtree(root)
    raise AssertionError("the build never ends")


def kill_at_random(count: int, folder: Path) -> Judge:
    """Kill builds at random moments, each store again and again until a run gets through."""
    judge = Judge(folder)
    rng = random.Random(0)
    started = time.monotonic()
    build(folder / "timed")
    usual_s = time.monotonic() - started
    while judge.injected < count:
        root = folder / f"store-{judge.injected}"
        for _ in range(NEXT_RUNS):
            pid = child(root)
            time.sleep(rng.uniform(0.0, 1.3 * usual_s))
            os.kill(pid, signal.SIGKILL)
            code = wait(pid)
            judge.injected += code != 0
            judge.visible(root, when=f"kill {judge.injected}")
            if code == 0:
                break
        judge.finished(root, when=f"after kill {judge.injected}")
        shutil.rmtree(root)
    return judge


def race(count: int, folder: Path) -> Judge:
    """Let four processes build the same artifact at once: each makes it, finds it, or is told."""
    judge = Judge(folder)
    for number in range(count):
        root = folder / f"store-{number}"
        codes = [wait(pid) for pid in [child(root) for _ in range(WRITERS)]]
        judge.injected += codes.count(6)
        if 0 not in codes or not set(codes) <= {0, 6}:
            judge.problems.append(f"race {number}: the runs ended with {codes}")
        judge.visible(root, when=f"race {number}")
        judge.finished(root, when=f"race {number}")
        shutil.rmtree(root)
    return judge


def hold(label: str, folder: Path) -> None:
    """Keep a lock until somebody kills this process."""
    store = Store.open(folder)
    with begin(store, kind="model", version=1, spec={}, inputs=(), label=label) as work:
        print(work.id, flush=True)  # noqa: T201
        signal.pause()


def once(umask: str, folder: Path) -> None:
    """Build under another umask."""
    os.umask(int(umask, 8))
    print(build(folder).digest)  # noqa: T201


def main() -> None:
    mode, argument, folder = sys.argv[1:]
    if mode in {"hold", "once"}:
        return {"hold": hold, "once": once}[mode](argument, Path(folder))
    if mode == "each":
        judge = inject_each(argument, Path(folder))
    elif mode == "random":
        judge = kill_at_random(int(argument), Path(folder))
    else:
        judge = race(int(argument), Path(folder))
    print(json.dumps({"injected": judge.injected, "problems": judge.problems}))  # noqa: T201
    return None


if __name__ == "__main__":
    main()
