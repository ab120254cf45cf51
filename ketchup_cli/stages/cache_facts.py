"""What a teacher cache holds, and which objectives it serves: read from its files, no model loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from ketchup_cli import objectives
from ketchup_cli.errors import MismatchError

if TYPE_CHECKING:
    from ketchup_cli.models.cache import CacheMeta
    from ketchup_cli.objectives import Objective


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What one objective, with its defaults, gets from a cache."""

    objective: str
    served: bool
    kind: str
    """The kind of signal it works from; empty where it is not served or reads no teacher."""
    how: str
    """What is exact, what is lost, or why it is not served."""


def facts(folder: Path) -> dict[str, Any]:
    """Return what a cache holds, as plain values; the tail's mass is averaged over its shards.

    Raises:
        NotFound, TooNew, Damaged: there is no cache, or none this version can read.
    """
    from ketchup_cli.models.cache import read_meta, tail_masses

    meta = read_meta(folder)
    layout = meta.layout
    return {
        "format": meta.format,
        "completions": meta.completions,
        "split": meta.split,
        "rows": meta.rows,
        "tokens": meta.tokens,
        "truncated": meta.truncated,
        "skipped": meta.skipped,
        "shards": len(meta.shards),
        "tokenizer": layout.tokenizer,
        "vocabulary": layout.vocabulary,
        "temperatures": list(layout.temperatures),
        "keeps": _keeps(meta),
        "statistics": "best, tail" if layout.partial else "all five",
        "entries_per_token": _entries(meta),
        "dtype": _dtype(meta),
        "bytes_per_token": round(meta.bytes_per_token, 1),
        "tail_mass_mean": tail_masses(folder, meta) if layout.keep == "top" else {},
    }


def _keeps(meta: CacheMeta) -> str:
    layout = meta.layout
    if layout.keep == "sampled":
        return f"{layout.draws} draws a token"
    if layout.keep == "hidden":
        return f"last states of {layout.width} numbers, and the head"
    return f"{layout.top} largest logits a token" if layout.top else "statistics alone"


def _entries(meta: CacheMeta) -> float:
    """Return how many entries of the vocabulary stand in the file for one token, on average."""
    if meta.layout.keep == "sampled":
        return round(sum(entry.entries for entry in meta.shards) / max(1, meta.tokens), 2)
    return float(meta.layout.top)


def _dtype(meta: CacheMeta) -> str:
    kept = {"top": "gap_dtype", "hidden": "state_dtype"}.get(meta.layout.keep)
    return "uint8" if kept is None else str(getattr(meta.layout, kept))


def services(folder: Path, name: str) -> Iterator[Service]:
    """Yield what every objective gets from the cache, at a temperature the cache holds.

    Args:
        folder: of the cache.
        name: what the cache is called in a reason.

    Raises:
        NotFound, TooNew, Damaged: there is no cache, or none this version can read.
    """
    from ketchup_cli.models.cache import read_meta

    meta = read_meta(folder)
    for item in objectives.names():
        objective = objectives.build({"name": item})[0].objective
        yield _service(item, objective, meta, name=name)


def _service(item: str, objective: Objective, meta: CacheMeta, *, name: str) -> Service:
    from ketchup_cli.models.cached_teacher import SOURCES, cache_offers
    from ketchup_cli.models.teacher import check_offers

    needs, source = objective.needs, SOURCES[meta.completions]
    if not needs.any_teacher:
        return Service(objective=item, served=True, kind="", how="reads no teacher")
    refused = ""
    if source not in needs.prefixes:
        whose = " or ".join(needs.prefixes)
        refused = f"learns from completions of the {whose}, not of the {source}: --set teacher=live"
    else:
        offers = cache_offers(meta)
        held = needs.temperature if offers.temperatures is None else offers.temperatures[0]
        try:
            check_offers(replace(needs, temperature=held), offers, name, prefixes=source)
        except MismatchError as error:
            reason = error.message.removeprefix(f"teacher cache `{name}` ")
            refused = f"{reason}: {error.hint}"
    if refused:
        return Service(objective=item, served=False, kind="", how=refused)
    kind = _kind(objective, meta)
    how = _sentence(objective, kind, meta)
    if "student" in objective.shares:
        how += "; its share on the student's own completions takes a live teacher"
    return Service(objective=item, served=True, kind=kind, how=how)


def _kind(objective: Objective, meta: CacheMeta) -> str:
    """Return the kind of signal an objective that is served works from."""
    layout = meta.layout
    if objective.needs.teacher == "stats":
        return "stats"
    if layout.keep != "top":
        return layout.keep
    whole = layout.top == layout.vocabulary and layout.gap_dtype == "float32"
    return "dense" if whole and objective.needs.teacher == "dense" else "top"


def _sentence(objective: Objective, kind: str, meta: CacheMeta) -> str:
    if kind == "top" and meta.layout.top == meta.layout.vocabulary:
        return f"all entries are kept: exact to the precision of {meta.layout.gap_dtype}"
    if kind in objective.fits:
        return objective.fits[kind]
    if kind == "hidden":
        whole = objective.fits.get("dense", "exact")
        return f"{whole}, to the precision of the stored states"
    return "served; the objective does not say what is lost"
