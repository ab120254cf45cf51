"""A page of hostile texts in a real browser: nothing runs, nothing is asked for, nothing is hidden."""

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import reports

from ketchup_cli.pages.page import make_page
from ketchup_cli.pages.render import html
from ketchup_cli.pages.sources import gather

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
LIMIT_S = 120
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason=f"no browser on this machine: none of {', '.join(NAMES)}"
)


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """An address that answers everything, and the paths it was asked for."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments):
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", paths
    server.shutdown()
    thread.join()
    server.server_close()


def opened(page: Path, profile: Path) -> tuple[str, str]:
    """Return the document as the browser holds it once the page has loaded, and its complaints."""
    command = [str(CHROMIUM), *QUIET, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    return done.stdout.decode("utf-8"), done.stderr.decode(errors="replace")


def hostile_texts(host: str) -> list[str]:
    probe = "<img src=x onerror=\"document.body.dataset.owned='yes'\">"
    return [text.replace("{host}", host) for text in (probe, *reports.HOSTILE)]


def test_nothing_on_a_hostile_page_runs_or_is_asked_for(asked, tmp_path):
    host, paths = asked
    texts = hostile_texts(host)
    store = reports.make_store(tmp_path, texts=texts, label=texts[1], students=["one"], values=[1])
    sources = gather(store, ["one"])
    page = tmp_path / "page.html"
    page.write_bytes(html(make_page(sources, commands={}, items=9, version="1")))

    document, complaints = opened(page, tmp_path / "profile")

    assert paths == []
    assert "data-owned" not in document.partition("<header>")[0]
    assert "Content Security Policy" not in complaints  # the page's own style is the one it allows
    assert "<script" not in document
    assert document.count("<iframe") == document.count("<img") == 0
    assert "&lt;/pre&gt;&lt;/script&gt;" in document


def test_the_same_texts_unescaped_run_and_ask(asked, tmp_path):
    host, paths = asked
    page = tmp_path / "page.html"
    texts = "\n".join(hostile_texts(host)).replace("alert(", "(")
    page.write_text(f"<!doctype html><body>{texts}</body>", encoding="utf-8")

    document, _ = opened(page, tmp_path / "profile")

    assert "data-owned" in document
    assert "/a.png" in paths
