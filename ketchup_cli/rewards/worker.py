"""The process a user's function and a regular expression run in: it may hang, die or print.

Questions come as lines of JSON on stdin, answers leave as lines of JSON on the first stdout. What
the function prints goes to stderr.

    python -m ketchup_cli.rewards.worker pattern PATTERN
    python -m ketchup_cli.rewards.worker function FILE NAME
"""

import importlib.util
import json
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Ask = Callable[[Mapping[str, Any]], Any]
LONGEST = 200
"""Characters of a message that are handed on."""


def pattern_question(pattern: str) -> Ask:
    """Return the question whether a pattern reads in a text what it reads in a reference."""
    compiled = re.compile(pattern)

    def ask(attempt: Mapping[str, Any]) -> bool:
        found = compiled.search(attempt["text"])
        if found is None or not compiled.groups:
            return found is not None
        readings = (compiled.search(reference) for reference in attempt["references"])
        return found[1] in {reading[1] for reading in readings if reading is not None}

    return ask


def function_question(file: str, name: str) -> Ask:
    """Return a function of a file: from prompt, completion and references to a reward."""
    path = Path(file).resolve()
    # the file's neighbours are what it may import
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    function = getattr(module, name)

    def ask(attempt: Mapping[str, Any]) -> Any:
        return function(attempt["prompt"], attempt["text"], attempt["references"])

    return ask


def answer(ask: Ask, attempt: Mapping[str, Any]) -> dict[str, Any]:
    """Return a number, or why there is none."""
    try:
        value = ask(attempt)
    except Exception as error:  # noqa: BLE001  a user's code may raise anything; it is counted
        return {"failure": "raised", "detail": told(error)}
    if not isinstance(value, bool | int | float):
        return {"failure": "not a number", "detail": type(value).__name__}
    if not math.isfinite(value):
        return {"failure": "not finite", "detail": f"{value}"}
    return {"value": float(value)}


def told(error: BaseException) -> str:
    """Return an exception in one line."""
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:LONGEST]


def main() -> None:
    """Answer questions until there are none."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)

        def reply(said: Mapping[str, Any]) -> None:
            answers.write(json.dumps(said) + "\n")
            answers.flush()

        kind, *rest = sys.argv[1:]
        try:
            ask = (pattern_question if kind == "pattern" else function_question)(*rest)
        except Exception as error:  # noqa: BLE001  so may its import
            reply({"failure": "raised", "detail": told(error)})
            return
        reply({"value": 0.0})
        for line in sys.stdin:
            reply(answer(ask, json.loads(line)))


if __name__ == "__main__":
    main()
