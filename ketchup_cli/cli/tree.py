"""A lineage as lines and as JSON."""

from collections.abc import Iterator
from typing import Any

from ketchup_cli.cli.console import print_result, table_lines
from ketchup_cli.cli.describe import made_by, short
from ketchup_cli.store import find
from ketchup_cli.store.find import Node
from ketchup_cli.store.layout import Store


def print_tree(place: Store, node: Node) -> None:
    """Print a lineage, one artifact or file a line."""
    rows = list(_tree_rows(place, node, lead="", branch=""))
    for line in table_lines(rows[0], rows[1:]):
        print_result(line)


def _tree_rows(place: Store, node: Node, *, lead: str, branch: str) -> Iterator[tuple[str, ...]]:
    yield (branch + _node_name(place, node), node.kind, *_node_facts(node))
    for index, parent in enumerate(node.parents):
        last = index == len(node.parents) - 1
        below = _tree_rows(
            place,
            parent,
            lead=lead + ("   " if last else "│  "),
            branch=lead + ("└─ " if last else "├─ "),
        )
        yield from below


def _node_name(place: Store, node: Node) -> str:
    return (find.name_of(place, node.id) if node.id else None) or node.label


def _node_facts(node: Node) -> tuple[str, str]:
    words = {
        "present": made_by(node.artifact.manifest) if node.artifact else "",
        "outside": f"a file or folder of its own, read as {node.role}",
        "missing": "no longer in the store",
        "changed": "rebuilt since: other content than was read",
    }
    return short(node.id or node.digest), words[node.state]


def tree_json(place: Store, node: Node) -> dict[str, Any]:
    """Return a lineage as plain tables."""
    return {
        "role": node.role,
        "kind": node.kind,
        "name": _node_name(place, node),
        "id": node.id,
        "digest": node.digest,
        "state": node.state,
        "made_by": _node_facts(node)[1] if node.artifact else None,
        "parents": [tree_json(place, parent) for parent in node.parents],
    }
