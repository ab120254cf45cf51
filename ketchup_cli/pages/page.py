"""From artifacts to a page: the list of its sections, in order."""

from collections.abc import Mapping

from ketchup_cli.pages import words
from ketchup_cli.pages.compared import claims, comparison
from ketchup_cli.pages.finding import findings
from ketchup_cli.pages.judged import verdicts
from ketchup_cli.pages.laboratory import laboratory
from ketchup_cli.pages.models import models, tradeoff
from ketchup_cli.pages.overview import again, asked, cost, lineage
from ketchup_cli.pages.parts import Page, present
from ketchup_cli.pages.samples import samples
from ketchup_cli.pages.scored import scores
from ketchup_cli.pages.sources import Sources
from ketchup_cli.pages.systems import base
from ketchup_cli.pages.training import curves


def make_page(sources: Sources, *, commands: Mapping[str, str], items: int, version: str) -> Page:
    """Return the page of these artifacts: the same artifacts make the same page.

    Args:
        sources: what `sources.gather` found.
        commands: the command line that makes an artifact again, by key.
        items: how many items are shown side by side.
        version: of the program.

    Raises:
        Damaged: a file that is shown is not what its manifest says.
    """
    named = [base(source.name) for source in sources if source.asked]
    lines = [commands[source.key] for source in sources if source.key in commands]
    return Page(
        title=", ".join(named),
        findings=findings(sources, claims=claims(sources)),
        sections=present((
            comparison(sources),
            verdicts(sources),
            scores(sources),
            models(sources),
            tradeoff(sources),
            samples(sources, count=items),
            curves(sources),
            laboratory(sources),
            lineage(sources),
            cost(sources),
            asked(sources),
            again(lines),
        )),
        origin=f"Made by ketchup {version} from {_counted(sources)}.",
    )


def _counted(sources: Sources) -> str:
    kinds: dict[str, int] = {}
    for source in sources:
        if source.artifact is not None:
            kinds[source.kind] = kinds.get(source.kind, 0) + 1
    return words.listed([
        f"{count} {kind}" + ("" if count == 1 or kind.endswith("s") else "s")
        for kind, count in kinds.items()
    ])
