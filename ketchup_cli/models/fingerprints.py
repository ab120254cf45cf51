"""What tells one tokenizer from another."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, final

from ketchup_cli.spec import canonical


@final
@dataclass(frozen=True, slots=True)
class Difference:
    """In what two tokenizers differ."""

    first: str
    """The first difference, in words."""
    ids: int
    """Ids that stand for another token in one than in the other, or for none."""


def tokenizer_parts(tokenizer: Any) -> dict[str, Any]:
    """Return what maps text to ids: pieces in order, merges, normaliser and the like."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # written in Python: its class is its rules
        parts = {"model": tokenizer.get_vocab(), "class": type(tokenizer).__name__}
    else:
        described = json.loads(backend.to_str())
        names = ("normalizer", "pre_tokenizer", "added_tokens", "model")
        parts = {name: described.get(name) for name in names}
    return {**parts, "length": len(tokenizer)}


def fingerprint(tokenizer: Any) -> str:
    """Return the digest of `tokenizer_parts`, `sha256:` and 64 hex digits."""
    return "sha256:" + hashlib.sha256(canonical(tokenizer_parts(tokenizer))).hexdigest()


def difference(one: Any, other: Any) -> Difference | None:
    """Return in what two tokenizers differ, or None where their fingerprints are equal."""
    ours, theirs = tokenizer_parts(one), tokenizer_parts(other)
    if canonical(ours) == canonical(theirs):
        return None
    pairs = list(zip_longest(_tokens(one), _tokens(other)))
    odd = [number for number, (mine, yours) in enumerate(pairs) if mine != yours]
    if not odd:
        return Difference(_first_rule(ours, theirs), 0)
    mine, yours = pairs[odd[0]]
    if mine is None or yours is None:
        return Difference(f"{ours['length']} and {theirs['length']} tokens", len(odd))
    return Difference(f"id {odd[0]} is {mine!r} and {yours!r}", len(odd))


def _tokens(tokenizer: Any) -> list[str]:
    tokens: list[str] = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return tokens


def _first_rule(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Return in which rules two tokenizers of the same tokens differ."""
    keys = sorted(ours.keys() | theirs.keys())
    changed = [key for key in keys if ours.get(key) != theirs.get(key)]
    sentence = f"the same tokens, but another {' and '.join(changed)}"
    return f"{sentence}: {_first_part(ours.get(changed[0]), theirs.get(changed[0]))}"


def _first_part(one: Any, other: Any) -> str:
    """Return the first place where two parts of a tokenizer differ: a merge, a rule, a setting."""
    if isinstance(one, list) and isinstance(other, list):
        pairs = enumerate(zip_longest(one, other))
        number, (mine, yours) = next((n, pair) for n, pair in pairs if pair[0] != pair[1])
        return f"entry {number} is {_brief(mine)} and {_brief(yours)}"
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(one.keys() | other.keys())
        key = next(key for key in keys if one.get(key) != other.get(key))
        return f"{key}, {_first_part(one.get(key), other.get(key))}"
    return f"{_brief(one)} and {_brief(other)}"


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("content") or value.get("type") or value
    return "none" if value is None else f"{value!r:.60}"
