"""Who speaks for the teacher when a model is measured: the teacher itself, or a cache of the split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from ketchup_cli.errors import MismatchError
from ketchup_cli.specs import CalibrationSpec
from ketchup_cli.stages.teaching import another_author
from ketchup_cli.store.find import Input


@final
@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks for the teacher: a role of the inputs, or nobody, and why."""

    role: str
    reason: str = ""


def choose(spec: CalibrationSpec, inputs: Mapping[str, Input]) -> Speaker:
    """Return who speaks for the teacher; a live one is exact, so it comes first.

    Raises:
        MismatchError: a cache is asked for, and it cannot tell.
    """
    if spec.teacher == "none":
        return Speaker("")
    if spec.teacher != "cache" and "teacher" in inputs:
        return Speaker("teacher")
    if "cache" not in inputs:
        return Speaker("", "neither a teacher nor a cache is named")
    objection = _objection(spec, inputs)
    if objection is None:
        return Speaker("cache")
    if spec.teacher == "cache":
        raise objection
    return Speaker("", objection.message)


def _objection(spec: CalibrationSpec, inputs: Mapping[str, Input]) -> MismatchError | None:
    """Return why the cache cannot speak for the teacher; None if it can."""
    from ketchup_cli.models.cache import read_meta
    from ketchup_cli.models.cached_teacher import cache_offers
    from ketchup_cli.models.teacher import check_offers
    from ketchup_cli.signals import Needs

    label, meta = inputs["cache"].label, read_meta(inputs["cache"].path)
    other = another_author(inputs, "cache")
    if other is not None:
        return MismatchError(
            f"teacher cache `{label}` was made from another teacher, `{other}`",
            hint="ketchup cache-teacher, or --teacher with the one it was made from",
        )
    try:
        check_offers(Needs(teacher="top"), cache_offers(meta), label, prefixes="data")
    except MismatchError as error:
        return error
    if meta.completions != "references" or meta.split != spec.split:
        return MismatchError(
            f"teacher cache `{label}` is about {meta.completions} of split `{meta.split}`; what is"
            f" measured are references of `{spec.split}`",
            hint=f"--teacher NAME, or ketchup cache-teacher --set split={spec.split}",
        )
    return None


def said_by(speaker: Speaker, inputs: Mapping[str, Input]) -> str:
    """Return what is known of the teacher's distributions."""
    if speaker.role != "cache":
        return "live"
    from ketchup_cli.models.cache import read_meta

    layout = read_meta(inputs["cache"].path).layout
    if layout.keep == "hidden":
        return f"states,{layout.state_dtype}"
    whole = layout.top == layout.vocabulary
    return f"top:{layout.top},{layout.gap_dtype}" + ("" if whole else ",tail:bucket")
