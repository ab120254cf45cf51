"""A page as one HTML file: no script, nothing loaded, every text escaped."""

import base64
import hashlib
from importlib import resources
from typing import TYPE_CHECKING

from ketchup_cli.pages.parts import Page

if TYPE_CHECKING:
    from jinja2 import Environment

GENERATOR = '<meta name="generator" content="ketchup report">'
"""What tells a page of ours from any other file."""
_HEAD_BYTES = 1024
"""Where the sign of a page stands at the latest."""
_TEMPLATES = "templates"


def html(page: Page) -> bytes:
    """Return the page; equal pages are equal bytes.

    Its policy allows one style sheet, named by its digest, and nothing else: no script, no image, no
    frame, no form, no style attribute.
    """
    styles = _template("page.css")
    digest = base64.b64encode(hashlib.sha256(styles.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    template = _environment().from_string(_template("page.html"))
    text = template.render(page=page, styles=styles, policy=policy, generator=GENERATOR)
    return text.encode("utf-8")


def is_page(content: bytes) -> bool:
    """Return whether a file is a page that this module wrote."""
    return GENERATOR.encode("ascii") in content[:_HEAD_BYTES]


def _template(name: str) -> str:
    files = resources.files("ketchup_cli.pages") / _TEMPLATES
    return (files / name).read_text(encoding="utf-8")


def _environment() -> "Environment":
    from jinja2 import Environment, StrictUndefined

    return Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
