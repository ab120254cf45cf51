"""How the benchmarks measure memory and write figures down."""

from collections.abc import Callable, Sequence
from pathlib import Path


def peak_of(work: Callable[..., None], *given: object) -> int:
    """Return how far the resident set rose during `work` on what is given, bytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _status("VmRSS")
    work(*given)
    return _status("VmHWM") - before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


def described(values: Sequence[float], *, digits: int = 3) -> str:
    """Return the median of some repeats and, in brackets, the smallest and the largest."""
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2]
    return f"{middle:,.{digits}f} [{ordered[0]:,.{digits}f} to {ordered[-1]:,.{digits}f}]"
