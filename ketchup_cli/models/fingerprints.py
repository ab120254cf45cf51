"""What tells one tokenizer from another."""

import hashlib
import json
from typing import Any

from ketchup_cli.spec import canonical


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
