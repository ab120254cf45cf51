"""Which items belong together: what is said of one tells of the others, so they are drawn together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from ketchup_cli.judging.calls import Item


class Clusters(msgspec.Struct, frozen=True, kw_only=True):
    """How the items hang together: of a document, or else of the same source."""

    count: int
    """Items, of which those that belong together are one."""
    shared: int
    """Items that belong together with another."""
    largest: int
    """Most items that belong together."""

    @property
    def line(self) -> tuple[tuple[str, str], ...]:
        """What a person reads of it; nothing where every item stands alone."""
        told = f"{self.shared:,} share a document or a source: {self.count:,} independent ones"
        return (("items", told),) if self.shared else ()


def clusters_of(items: Sequence[Item]) -> dict[str, str]:
    """Return the first item of its cluster for every item that is not alone in one.

    Items belong together that the corpus says are of one document; of those it says nothing of,
    the ones with the same source.
    """
    shared = {
        item.id: ("document", item.document) if item.document else ("source", item.source)
        for item in items
    }
    sizes = Counter(shared.values())
    first: dict[tuple[str, str], str] = {}
    return {id: first.setdefault(key, id) for id, key in shared.items() if sizes[key] > 1}


def told_of(items: Sequence[str], clusters: Mapping[str, str]) -> Clusters:
    """Return how so many items hang together."""
    sizes = Counter(clusters.get(item, item) for item in items)
    return Clusters(
        count=len(sizes),
        shared=sum(size for size in sizes.values() if size > 1),
        largest=max(sizes.values(), default=0),
    )
