"""Short words for artifacts: ids, ages, and one note from the summary."""

from ketchup_cli.store.manifest import Manifest

SHORT_ID = 8
"""Hex digits of an id or digest that are shown."""


def short(text: str) -> str:
    """Return the first eight hex digits of an id or a digest."""
    return text.removeprefix("sha256:")[:SHORT_ID]


def note_of(manifest: Manifest) -> str:
    """Return a few words on what an artifact holds, from its summary."""
    summary = manifest.summary
    words: list[str] = []
    for key, value in summary.items():
        if isinstance(value, bool | int | float | str) and key != "seconds":
            words.append(f"{key.replace('_', ' ')} {_plain(value)}")
    return ", ".join(words[:4])


def _plain(value: bool | int | float | str) -> str:
    if isinstance(value, bool | str):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
