"""What `judge` says of its questions before and while it asks them."""

from ketchup_cli.judging import calls as asking
from ketchup_cli.judging.client import Judge
from ketchup_cli.judging.probe import Abilities
from ketchup_cli.specs import JudgeSpec
from ketchup_cli.stages.judge_questions import is_joint


def plan_line(spec: JudgeSpec, *, items: int, calls: int, controls: int) -> str:
    """Return what is asked, and how many calls that is."""
    pairs = len(asking.pairs(spec.systems, against=spec.against))
    parts = [f"{items:,} items"]
    parts += [] if is_joint(spec) else [f"{len(spec.aspects)} aspects"]
    if spec.mode == "rating":
        shown = f"{' and '.join(spec.systems)} rated from 1 to 5"
        parts += [f"{len(spec.systems)} systems"] if len(spec.systems) > 1 else []
    else:
        shown = " against ".join(spec.systems)
        if spec.against:
            shown = f"{' and '.join(spec.systems)} against {spec.against}"
        parts += ["2 orders", *([f"{pairs} pairs"] if pairs > 1 else [])]
    parts += [f"{spec.repeats} times"] if spec.repeats > 1 else []
    asked = f"{controls} controls = {calls:,} calls"
    joint = f", each about {len(spec.aspects)} aspects" if is_joint(spec) else ""
    several = f", of each of {len(spec.judges)} judges" if len(spec.judges) > 1 else ""
    return f"{shown}, {' x '.join(parts)}, and {asked}{joint}{several}"


def abilities_line(abilities: Abilities) -> str:
    """Return what a server was found to do."""
    parts: list[str] = [abilities.protocol]
    parts += [f"without {name}" for name in abilities.dropped]
    parts += [f"{name} is called {instead}" for name, instead in abilities.renamed.items()]
    parts += [f"{name} refused: {why}" for name, why in abilities.refused.items()]
    return "; ".join(parts)


def status_line(judge: Judge, lost: int) -> str:
    """Return what stands beside the count while it is asked."""
    pace, budget = judge.means.pace, judge.means.budget
    parts = [f"{pace.open} open", f"{lost:,} unjudged"]
    parts += [f"{judge.retries} retries"] if judge.retries else []
    parts += [f"{budget.spent:.4f} spent"] if budget.prices.known else []
    return "  ".join(parts)
