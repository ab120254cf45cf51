"""JSON with one spelling: the same value is the same bytes, and no NaN hides in it."""

import json
from collections.abc import Iterable, Iterator

from ketchup_cli.errors import NonFiniteError
from ketchup_cli.spec import canonical

_CHUNK_BYTES = 2**20


def json_document(value: object, *, name: str) -> bytes:
    """Return `value` for programs and people: sorted keys, two spaces of indent.

    Raises:
        NonFiniteError: a NaN or an infinity is in it.
    """
    plain = json.loads(_one_line(value, where=f"`{name}`"))
    return json.dumps(plain, indent=2, sort_keys=True).encode("ascii") + b"\n"


def json_lines(rows: Iterable[object], *, name: str) -> Iterator[bytes]:
    """Yield JSON Lines, one canonical document for each row, in chunks of about a mebibyte.

    Raises:
        NonFiniteError: a NaN or an infinity is in a row.
    """
    held: list[bytes] = []
    held_bytes = 0
    for number, row in enumerate(rows, start=1):
        line = _one_line(row, where=f"row {number} of `{name}`") + b"\n"
        held.append(line)
        held_bytes += len(line)
        if held_bytes >= _CHUNK_BYTES:
            yield b"".join(held)
            held.clear()
            held_bytes = 0
    yield b"".join(held)


def _one_line(value: object, *, where: str) -> bytes:
    try:
        return canonical(value)
    except ValueError as error:
        raise NonFiniteError(
            f"{where} holds a NaN or an infinity", hint="look at the step that computed it"
        ) from error
