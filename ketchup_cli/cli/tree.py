"""A lineage as lines and as JSON."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from ketchup_cli.cli.console import print_result, table_lines
from ketchup_cli.cli.describe import made_by, short
from ketchup_cli.store import find
from ketchup_cli.store.find import Node
from ketchup_cli.store.layout import Store

Row = tuple[str, ...]
Contents = Mapping[tuple[str, str], Sequence[str]]
"""Kind and digest to the ids of all artifacts of that content."""


def print_tree(place: Store, node: Node) -> None:
    """Print a lineage, one artifact or file a line; what was shown before is not unfolded again."""
    rows = list(_Tree(place, _by_content(place)).rows(node, lead="", branch=""))
    for line in table_lines(rows[0], rows[1:]):
        print_result(line)


@final
@dataclass(frozen=True, slots=True)
class _Tree:
    """A lineage on its way to the terminal."""

    place: Store
    contents: Contents
    shown: dict[str, str] = field(default_factory=dict)
    """Id or digest to the name it was unfolded under."""

    def rows(self, node: Node, *, lead: str, branch: str) -> Iterator[Row]:
        """Yield the row of a node, and those of what it was made from."""
        key, name = node.id or node.digest, _node_name(self.place, node)
        above = self.shown.get(key) if node.parents else None
        yield (branch + name, node.kind, short(key), self._words(node, name, above))
        self.shown.setdefault(key, name)
        for index, parent in enumerate(() if above else node.parents):
            last = index == len(node.parents) - 1
            yield from self.rows(
                parent,
                lead=lead + ("   " if last else "│  "),
                branch=lead + ("└─ " if last else "├─ "),
            )

    def _words(self, node: Node, name: str, above: str | None) -> str:
        if above is not None:
            return "see above" if above == name else f"see {above} above"
        equal = ", ".join(_equal(self.place, node, self.contents))
        return "; ".join(filter(None, [_facts(node), equal and f"the same content as {equal}"]))


def _node_name(place: Store, node: Node) -> str:
    """Return what the node was called when it was read, if that still means it."""
    named = find.name_of(place, node.id, called=node.label) if node.id else None
    return named or node.label


def _by_content(place: Store) -> Contents:
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for artifact in find.artifacts(place, on_error=lambda _error: None):
        found[artifact.kind, artifact.digest].append(artifact.id)
    return found


def _equal(place: Store, node: Node, contents: Contents) -> list[str]:
    """Return the names of other artifacts of the same content: what reads one has read all."""
    if node.artifact is None:
        return []
    same = contents.get((node.kind, node.artifact.digest), ())
    return [find.name_of(place, id) or short(id) for id in same if id != node.id]


def _facts(node: Node) -> str:
    words = {
        "present": made_by(node.artifact.manifest) if node.artifact else "",
        "outside": f"a file or folder of its own, read as {node.role}",
        "missing": "no longer in the store",
        "changed": "rebuilt since: other content than was read",
    }
    return words[node.state]


def tree_json(place: Store, node: Node, contents: Contents | None = None) -> dict[str, Any]:
    """Return a lineage as plain tables; `contents` is read from the store unless given."""
    known = _by_content(place) if contents is None else contents
    return {
        "role": node.role,
        "kind": node.kind,
        "name": _node_name(place, node),
        "id": node.id,
        "digest": node.digest,
        "state": node.state,
        "made_by": _facts(node) if node.artifact else None,
        "equal_to": _equal(place, node, known),
        "parents": [tree_json(place, parent, known) for parent in node.parents],
    }
