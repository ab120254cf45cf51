"""A lineage as lines and as JSON."""

from collections.abc import Iterator
from typing import Any

from ketchup_cli.cli.console import print_result, table_lines
from ketchup_cli.cli.describe import made_by, short
from ketchup_cli.store import find
from ketchup_cli.store.find import Node
from ketchup_cli.store.layout import Store


def print_tree(place: Store, node: Node) -> None:
    """Print a lineage, one artifact or file a line; what was shown before is not unfolded again."""
    rows = list(_tree_rows(place, node, lead="", branch="", shown=set()))
    for line in table_lines(rows[0], rows[1:]):
        print_result(line)


def _tree_rows(
    place: Store, node: Node, *, lead: str, branch: str, shown: set[str]
) -> Iterator[tuple[str, ...]]:
    key = node.id or node.digest
    again = bool(node.parents) and key in shown
    facts = (short(key), "see above" if again else _facts(node))
    yield (branch + _node_name(place, node), node.kind, *facts)
    shown.add(key)
    for index, parent in enumerate(() if again else node.parents):
        last = index == len(node.parents) - 1
        yield from _tree_rows(
            place,
            parent,
            lead=lead + ("   " if last else "│  "),
            branch=lead + ("└─ " if last else "├─ "),
            shown=shown,
        )


def _node_name(place: Store, node: Node) -> str:
    return (find.name_of(place, node.id) if node.id else None) or node.label


def _facts(node: Node) -> str:
    words = {
        "present": made_by(node.artifact.manifest) if node.artifact else "",
        "outside": f"a file or folder of its own, read as {node.role}",
        "missing": "no longer in the store",
        "changed": "rebuilt since: other content than was read",
    }
    return words[node.state]


def tree_json(place: Store, node: Node) -> dict[str, Any]:
    """Return a lineage as plain tables."""
    return {
        "role": node.role,
        "kind": node.kind,
        "name": _node_name(place, node),
        "id": node.id,
        "digest": node.digest,
        "state": node.state,
        "made_by": _facts(node) if node.artifact else None,
        "parents": [tree_json(place, parent) for parent in node.parents],
    }
