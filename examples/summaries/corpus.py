"""Write the corpus: what Debian packages do, at length and in one line, from the package index.

python corpus.py                        writes data/train.jsonl.gz, dev.jsonl.gz and test.jsonl.gz
python corpus.py --release trixie       another release that this machine's apt knows
python corpus.py --lists FOLDER         reads an index that `apt-get update` left there
python corpus.py --words 80             cuts documents to their first 80 words

`apt-get update` fetches the index (about 15 MB) with the sources of this machine, into a folder of
its own: nothing of the system is changed, and no rights are needed. Every description stands under
the licence of its own package, so neither the texts nor models trained on them are shipped.
"""

import argparse
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

ARCHITECTURE = "amd64"
"""Asked for whatever this machine is, so that everybody has the same sections and sources."""

APT = """
Dir::State::Lists "{folder}/lists";
Dir::Cache "{folder}/cache";
APT::Architecture "{architecture}";
#clear APT::Architectures;
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
Acquire::Languages "en";
Acquire::GzipIndexes "false";
#clear Acquire::IndexTargets::deb::Contents-deb;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Debug::NoLocking "true";
"""

DOCUMENT_WORDS = (12, 160)
SUMMARY_WORDS = (3, 20)
SAME_SUMMARY = 2
SAME_SOURCE = 4
"""Rows with one summary, and rows of one source package, that are kept at most."""

TEST, DEV = range(3), range(3, 6)
"""Hundredths of all source packages, by their hash."""

LIST_ITEM = re.compile(r"(?:[*+•·o-]|\d{1,2}[.)])\s+")
NOTHING_TO_SAY = ("transitional", "transition package", "dummy package")


class CorpusError(Exception):
    """What keeps the corpus from being made, and one remedy."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def fetch(folder: Path) -> Path:
    """Fill a folder with this machine's package index and return where the lists lie."""
    if shutil.which("apt-get") is None:
        raise CorpusError(
            "this machine has no `apt-get`, which fetches the package index",
            hint="run this on Debian or in a container of it (`debian:bookworm`), then copy data/",
        )
    settings = folder / "apt.conf"
    settings.write_text(APT.format(folder=folder, architecture=ARCHITECTURE), encoding="utf-8")
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "cache" / "archives" / "partial").mkdir(parents=True)
    done = subprocess.run(
        ["apt-get", "-c", str(settings), "update"], capture_output=True, text=True, check=False
    )
    # a source of others that fails is no matter as long as the release's own index is there
    if not any(folder.glob("lists/*_Translation-en")):
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise CorpusError(
            f"`apt-get update` brought no English descriptions: {said[-1] if said else 'silence'}",
            hint="see that `apt-get update` works on this machine, and that it can be reached",
        )
    return folder / "lists"


def index_file(lists: Path, release: str, kind: str) -> Path:
    """Return the file of a release's main index."""
    found = sorted(lists.glob(f"*_dists_{release}_main_{kind}"))
    if not found:
        names = {path.name for path in lists.glob("*_main_i18n_Translation-en")}
        known = sorted({name.split("_dists_")[1].split("_main_")[0] for name in names})
        raise CorpusError(
            f"the index holds no release `{release}`, but {', '.join(known) or 'none at all'}",
            hint=f"python corpus.py --release {known[0]}" if known else "apt-get update",
        )
    return found[0]


def stanzas(path: Path) -> Iterator[dict[str, str]]:
    """Yield the paragraphs of an index file as fields; lines that go on keep their first column."""
    fields: dict[str, str] = {}
    name = ""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.strip():
                if fields:
                    yield fields
                fields = {}
            elif line[0] in " \t":
                fields[name] += "\n" + line.rstrip("\n")
            else:
                name, _, value = line.rstrip("\n").partition(":")
                fields[name] = value.strip()
    if fields:
        yield fields


def unfold(description: str) -> tuple[str, str]:
    """Return the one-line synopsis and the long description as one line, list items after "- "."""
    synopsis, _, body = description.partition("\n")
    words: list[str] = []
    begins = True
    for line in body.split("\n"):
        text = line.strip()
        if text in {"", "."}:
            begins = True
            continue
        item = LIST_ITEM.match(text)
        if item or (begins and line.startswith("  ")):
            words.append("-")
        words.extend(text[item.end() if item else 0 :].split())
        begins = False
    return " ".join(synopsis.split()), " ".join(words[: DOCUMENT_WORDS[1]])


def cut(row: dict[str, str], words: int) -> dict[str, str]:
    """Return a row whose document has at most this many words."""
    return row | {"document": " ".join(row["document"].split()[:words])}


def plain(text: str) -> str:
    """Return the words of a text, without case and marks."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def is_of_use(row: dict[str, str]) -> bool:
    """Return whether a row has a summary that its document does not contain word for word."""
    summary, document = row["summary"], row["document"]
    low, high = SUMMARY_WORDS
    return (
        low <= len(summary.split()) <= high
        and len(document.split()) >= DOCUMENT_WORDS[0]
        and not row["pkg"].endswith("-dbg")
        and not any(phrase in summary.lower() for phrase in NOTHING_TO_SAY)
        and plain(summary) not in plain(document)
    )


def digest(text: str) -> str:
    """Return a hash that decides splits and order alone."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def chosen(rows: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Yield rows in an order of their own: each document once, few of one summary or source."""
    documents: set[str] = set()
    summaries: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    for row in sorted(rows, key=lambda row: digest(f"{row['pkg']}\n{row['document']}")):
        document = re.sub(r"[^a-z]+", " ", row["document"].lower())
        summary, source = row["summary"].lower(), row["source"]
        if document in documents:
            continue
        documents.add(document)
        if summaries[summary] < SAME_SUMMARY and sources[source] < SAME_SOURCE:
            summaries[summary] += 1
            sources[source] += 1
            yield row


def read_rows(lists: Path, release: str) -> Iterator[dict[str, str]]:
    """Yield one row a description of a release's main index."""
    packages = {
        fields["Package"]: fields
        for fields in stanzas(index_file(lists, release, f"binary-{ARCHITECTURE}_Packages"))
    }
    for fields in stanzas(index_file(lists, release, "i18n_Translation-en")):
        name = fields["Package"]
        package = packages.get(name, {})
        summary, document = unfold(fields["Description-en"])
        yield {
            "document": document,
            "summary": summary,
            "pkg": name,
            "source": package.get("Source", name).split(" ")[0],
            "section": package.get("Section", ""),
        }


def split_of(source: str) -> str:
    """Return the split of a source package: all of its packages stand in one."""
    place = int(digest(source)[:8], 16) % 100
    return "test" if place in TEST else "dev" if place in DEV else "train"


def write(path: Path, rows: Iterable[dict[str, str]]) -> None:
    """Write rows as JSON Lines, gzip, without a time in the header: the same rows, the same bytes.

    The file appears whole or not at all.
    """
    half = path.with_name(path.name + ".part")
    with half.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    half.replace(path)


def main(words: list[str]) -> None:
    """Fetch the index, make the splits and write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--release", default="bookworm", help="code name of the release")
    parser.add_argument("--lists", type=Path, help="folder of package lists, not compressed")
    parser.add_argument("--words", type=int, default=DOCUMENT_WORDS[1], help="longest document")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data")
    asked = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        lists = asked.lists or fetch(Path(folder))
        useful = [row for row in read_rows(lists, asked.release) if is_of_use(row)]
    splits: dict[str, list[dict[str, str]]] = {"train": [], "dev": [], "test": []}
    for row in chosen(useful):
        splits[split_of(row["source"])].append(cut(row, asked.words))
    asked.out.mkdir(parents=True, exist_ok=True)
    for name, rows in splits.items():
        write(asked.out / f"{name}.jsonl.gz", rows)
        print(f"{asked.out / name}.jsonl.gz  {len(rows):,} rows")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except CorpusError as error:
        sys.exit(f"error: {error}\nhint: {error.hint}")
