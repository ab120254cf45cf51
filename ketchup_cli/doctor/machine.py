"""The machine: versions and device, the file system of the store, free disk and memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from ketchup_cli.doctor.result import Check, failed, passed, warned
from ketchup_cli.errors import SpecError
from ketchup_cli.models.load import pick_device
from ketchup_cli.reporting import human_bytes
from ketchup_cli.store.trial import try_folder

DEVICE, FILES, DISK, MEMORY = "device", "file system", "disk", "memory"

ROOM = 1.05
"""What a plan's bytes are multiplied by: manifests, and blocks that are not full."""

TIGHT: Mapping[str, float] = {"cpu": 1.25}
"""Free memory below this many times the plan may not do, by kind of device; 2 where none was measured."""

MEMINFO = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")


def device(wanted: str) -> Check:
    """Find the device the settings name."""
    try:
        found = pick_device(wanted)
    except SpecError as error:
        return failed(DEVICE, error.message, error.hint or "--set device=auto")
    name = torch.cuda.get_device_name(found) if found.type == "cuda" else f"{found}"
    told = f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    return passed(DEVICE, told, figures={"device": found.type, "torch": str(torch.__version__)})


def file_system(store: Path) -> Check:
    """Try what the store needs where it lies: locks, syncs and renames."""
    folder = existing(store)
    try:
        met = try_folder(folder)
    except OSError as error:
        told = f"nothing can be written to `{folder}`: {error.strerror}"
        return failed(FILES, told, "put the store elsewhere with --store")
    faults = [f"{name} does not work on `{folder}`: {what}" for name, what in met.items() if what]
    if faults:
        return failed(FILES, faults, "put the store on a local disk with --store")
    return passed(FILES, f"{', '.join(met)} work on `{folder}`")


def disk(store: Path, plan: Mapping[str, int]) -> Check:
    """Hold the free bytes of the store's disk against what the plan writes, by what it is for."""
    free, needed = shutil.disk_usage(existing(store)).free, round(ROOM * sum(plan.values()))
    figures = {"free_bytes": free, "needed_bytes": needed}
    told = f"{human_bytes(free)} free, the plan writes {human_bytes(needed)}{_listed(plan)}"
    if needed > free:
        return failed(
            DISK,
            told,
            f"free {human_bytes(needed - free)}, or --store on another disk",
            figures=figures,
        )
    return passed(DISK, told, figures=figures)


def memory(plan: Mapping[str, int], *, kind: str) -> Check:
    """Hold the free memory of the device against what the plan holds in it, by what it is for."""
    free, needed = free_memory(kind), sum(plan.values())
    figures = {"free_bytes": free, "needed_bytes": needed}
    told = f"{human_bytes(free)} free, the plan holds about {human_bytes(needed)}{_listed(plan)}"
    remedy = "a smaller tokens_per_batch or rollout.prompts, or --set optimizer.name=adafactor"
    if needed > free:
        return failed(MEMORY, told, remedy, figures=figures)
    tight = TIGHT.get(kind, 2.0)
    if tight * needed > free:
        more = f"less than {tight:g} times the plan, which counts no fragments and no copies"
        return warned(MEMORY, [told, more], remedy, figures=figures)
    return passed(MEMORY, told, figures=figures)


def free_memory(kind: str) -> int:
    """Return the bytes that can be had on a kind of device; a container's limit counts."""
    if kind == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    # free pages leave out what the kernel would give back
    lines = MEMINFO.read_text(encoding="ascii").splitlines() if MEMINFO.is_file() else []
    told = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return min([*(told or [pages]), *_group_limit()])


def _group_limit() -> list[int]:
    """Return what a control group leaves this process, if it has a limit."""
    limit, used = GROUP / "memory.max", GROUP / "memory.current"
    if not (limit.is_file() and used.is_file()):
        return []
    text = limit.read_text(encoding="ascii").strip()
    return [int(text) - int(used.read_text(encoding="ascii"))] if text.isdigit() else []


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest above it that is there."""
    whole = folder.absolute()
    return next(path for path in (whole, *whole.parents) if path.is_dir())


def _listed(plan: Mapping[str, int]) -> str:
    shown = ", ".join(f"{name} {human_bytes(size)}" for name, size in plan.items())
    return f": {shown}" if shown else ""
