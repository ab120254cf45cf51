import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storing import publish

from ketchup_cli.errors import ArtifactError, Damaged, NotFound, TooNew
from ketchup_cli.spec import canonical
from ketchup_cli.store import manifest as manifests
from ketchup_cli.store.digest import FileEntry, bytes_digest, recipe_id, table_digest
from ketchup_cli.store.layout import Store
from ketchup_cli.store.manifest import InputEntry, Manifest

WHERE = Path("manifest.json")
DIGEST = "sha256:" + "ab" * 32
ID = "cd" * 32

Table = dict[str, Any]


def entry(path: str = "rows.jsonl", *, size: int = 3) -> FileEntry:
    return FileEntry(path=path, bytes=size, digest=DIGEST)


def sound(*, files: tuple[FileEntry, ...] = (entry(),), **changes: Any) -> Manifest:
    spec = changes.pop("spec", {"top": 64, "temperatures": [1.0]})
    inputs = changes.pop(
        "inputs", (InputEntry(role="corpus", kind="corpus", id=ID, digest=DIGEST, label="en-nl@1"),)
    )
    recipe = [(item.role, item.digest) for item in inputs]
    fields: Table = {
        "kind": "teacher-cache",
        "kind_version": 1,
        "id": recipe_id("teacher-cache", 1, spec=spec, inputs=recipe),
        "digest": table_digest(files),
        "spec": spec,
        "inputs": inputs,
        "files": files,
        "logs": (entry("logs/metrics.jsonl"),),
        "summary": {"tokens": 65120, "tail_mass_mean": 0.0031},
        "signature": "teacher:t5|top:64",
        "environment": {"torch": "2.13.0"},
        "created": "2026-01-02T03:04:05Z",
        "seconds": 12.3,
    }
    return Manifest(**(fields | changes))


def table() -> Table:
    return dict(json.loads(manifests.encode(sound())))


def sealed(content: Table) -> bytes:
    """Give the table the checksum and the digests it should have: only its facts are wrong."""
    body = {key: value for key, value in content.items() if key != "checksum"}
    try:
        if "digest" in body:
            body["digest"] = table_digest(FileEntry(**file) for file in body["files"])
        recipe = [(item["role"], item["digest"]) for item in body["inputs"]]
        if "id" in body:
            body["id"] = recipe_id(
                body["kind"], body["kind_version"], spec=body["spec"], inputs=recipe
            )
    except (TypeError, KeyError, ValueError):
        pass  # a field is so wrong that nothing can be derived from it
    return canonical(body | {"checksum": bytes_digest(canonical(body))}) + b"\n"


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    written = sound()

    manifests.write(tmp_path, written)

    read = manifests.read(tmp_path)
    assert read == Manifest(**{
        **{name: getattr(written, name) for name in Manifest.__struct_fields__},
        "checksum": read.checksum,
    })


def test_a_manifest_is_one_line_of_canonical_json() -> None:
    content = manifests.encode(sound())

    assert content == canonical(json.loads(content)) + b"\n"


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no artifact: it has no manifest\.json"):
        manifests.read(tmp_path)


def test_a_manifest_of_a_newer_version_is_refused_with_both_numbers() -> None:
    newer = sealed(table() | {"ketchup_manifest": 2, "unheard_of": True})

    with pytest.raises(TooNew, match="manifest version 2, this one knows 1") as caught:
        manifests.parse(newer, WHERE)

    assert caught.value.hint == "pip install -U ketchup-kd"


def test_an_artifact_of_a_newer_kind_is_refused_with_both_numbers() -> None:
    with pytest.raises(TooNew, match="kind version 3, this one knows 2"):
        manifests.check_kind_version(sound(kind_version=3), 2)


def test_an_artifact_of_a_known_kind_is_accepted() -> None:
    manifests.check_kind_version(sound(), 1)


def without(name: str) -> Callable[[Table], Table]:
    return lambda given: {key: value for key, value in given.items() if key != name}


def with_(**changes: Any) -> Callable[[Table], Table]:
    return lambda given: given | changes


def with_file(**changes: Any) -> Callable[[Table], Table]:
    return lambda given: given | {"files": [given["files"][0] | changes]}


def with_input(**changes: Any) -> Callable[[Table], Table]:
    return lambda given: given | {"inputs": [given["inputs"][0] | changes]}


HOSTILE_PATHS = [
    "",
    "/etc/passwd",
    "../secret",
    "a/../../b",
    "a/./b",
    "a//b",
    "a/",
    "-rf",
    "a/-rf",
    ".hidden",
    "a\\b",
    "a\x00b",
    "a b",
    "a\nb",
    "caf\u00e9",
    "\ud800",
    "x" * 201,
    "manifest.json",
    "logs/metrics.jsonl",
]


@pytest.mark.parametrize("path", HOSTILE_PATHS, ids=repr)
def test_a_path_that_could_leave_the_artifact_is_damage(path: str) -> None:
    with pytest.raises(Damaged):
        manifests.parse(sealed(with_file(path=path)(table())), WHERE)


@pytest.mark.parametrize("name", sorted(set(Manifest.__struct_fields__) - {"logs", "checksum"}))
def test_a_missing_field_is_damage(name: str) -> None:
    with pytest.raises(Damaged):
        manifests.parse(sealed(without(name)(table())), WHERE)


WRONG: dict[str, Callable[[Table], Table]] = {
    "unknown field": with_(unheard_of=1),
    "version 0": with_(ketchup_manifest=0),
    "version as text": with_(ketchup_manifest="1"),
    "version true": with_(ketchup_manifest=True),
    "kind is a path": with_(kind="../model"),
    "kind version is a float": with_(kind_version=1.0),
    "spec is a list": with_(spec=[]),
    "inputs are a table": with_(inputs={}),
    "seconds as text": with_(seconds="12"),
    "no summary": with_(summary=None),
    "time is a word": with_(created="yesterday"),
    "log outside logs": with_(logs=[{"path": "rows.txt", "bytes": 1, "digest": DIGEST}]),
    "text is not Unicode": with_(environment={"key": "\ud800"}),
    "negative size": with_file(bytes=-1),
    "size is a float": with_file(bytes=3.0),
    "size as text": with_file(bytes="3"),
    "digest malformed": with_file(digest="sha256:XYZ"),
    "unknown field of a file": with_file(unheard_of=1),
    "short input id": with_input(id="77d0"),
    "input kind is a path": with_input(kind="../../names"),
    "other input digest": with_input(digest="md5:00"),
    "file listed twice": lambda given: given | {"files": given["files"] * 2},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_field_of_the_wrong_type_or_form_is_damage(change: Callable[[Table], Table]) -> None:
    with pytest.raises(Damaged):
        manifests.parse(sealed(change(table())), WHERE)


def test_the_unchanged_table_of_these_tests_is_sound() -> None:
    assert manifests.parse(sealed(table()), WHERE).kind == "teacher-cache"


@pytest.mark.parametrize(
    ("name", "value"),
    [("id", "ef" * 32), ("digest", "sha256:" + "ef" * 32), ("kind_version", 2)],
)
def test_a_resealed_lie_about_recipe_or_content_is_damage(name: str, value: object) -> None:
    body = table() | {name: value}
    del body["checksum"]
    content = canonical(body | {"checksum": bytes_digest(canonical(body))}) + b"\n"

    with pytest.raises(Damaged, match="is not that of"):
        manifests.parse(content, WHERE)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (b'"seconds":12.3', b'"seconds":NaN', "NaN"),
        (b'"seconds":12.3', b'"seconds":-Infinity', "Infinity"),
        (b'"seconds":12.3', b'"seconds":1e999', "too large"),
        (b'"seconds":12.3', b'"seconds":12.3,"seconds":12.3', "twice"),
        (b'"seconds":12.3', b'"seconds":12.30', "not as it was written"),
        (b'"seconds":12.3', b'"seconds": 12.3', "not as it was written"),
        (b'"seconds":12.3', b'"seconds":12.4', "not as it was written"),
        (b'"top":64', b'"top":6' + b"4" * 5000, "sound manifest"),
        (b'"top":64', b'"top":' + b"[" * 10_000 + b"]" * 10_000, "too deeply"),
        (b'"top":64', b'"top":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "too deeply"),
        (b"teacher:t5", b"teacher:\xff5", "utf-8"),
        (b"}\n", b"}", "not as it was written"),
        (b"}\n", b"", "sound manifest"),
    ],
    ids=lambda value: value[:24].decode("latin-1") if isinstance(value, bytes) else value,
)
def test_a_manifest_that_is_not_canonical_json_is_damage(
    before: bytes, after: bytes, reason: str
) -> None:
    content = manifests.encode(sound())
    assert before in content

    with pytest.raises(Damaged, match=reason):
        manifests.parse(content.replace(before, after), WHERE)


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"7", b'"x"', b"{}", b"\x00" * 9])
def test_a_manifest_that_is_no_object_is_damage(content: bytes) -> None:
    with pytest.raises(Damaged, match="sound manifest"):
        manifests.parse(content, WHERE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(field=st.sampled_from(sorted(Manifest.__struct_fields__)), value=JSON)
def test_any_json_in_any_field_is_read_exactly_or_refused(field: str, value: object) -> None:
    content = json.dumps(table() | {field: value}).encode()

    try:
        manifest = manifests.parse(content, WHERE)
    except (Damaged, TooNew):
        return
    assert manifests.encode(manifest) == content


@settings(max_examples=300, derandomize=True, deadline=None)
@given(content=st.binary(max_size=64))
def test_any_bytes_are_refused(content: bytes) -> None:
    with pytest.raises((Damaged, TooNew)):
        manifests.parse(content, WHERE)


def test_a_manifest_larger_than_any_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "manifest.json").open("wb") as file:
        file.truncate(2**40)

    with pytest.raises(Damaged, match="larger than"):
        manifests.read(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="no /proc to read a peak from")
def test_the_largest_manifest_takes_less_than_300_mb_to_refuse(tmp_path: Path) -> None:
    filler = b"[]," * (manifests.LIMIT_BYTES // 3 - 2)
    (tmp_path / "manifest.json").write_bytes(b"[" + filler + b"[]]")
    program = (
        "import pathlib, sys\n"
        "from ketchup_cli.store import manifest\n"
        "from ketchup_cli.errors import Damaged\n"
        "try: manifest.read(pathlib.Path(sys.argv[1]))\n"
        "except Damaged: print(pathlib.Path('/proc/self/status').read_text())\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, check=True, text=True
    )

    # not ru_maxrss: a child begins with its parent's there
    (peak,) = (line for line in done.stdout.splitlines() if line.startswith("VmHWM:"))
    assert int(peak.split()[1]) * 1024 < 300 * 2**20


def test_a_link_in_place_of_a_manifest_is_damage(store: Store, tmp_path: Path) -> None:
    artifact = publish(store)
    (tmp_path / "manifest.json").symlink_to(artifact.path / "manifest.json")

    with pytest.raises(Damaged, match="not a regular file"):
        manifests.read(tmp_path)


def test_a_fifo_in_place_of_a_manifest_is_damage_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")

    with pytest.raises(Damaged, match="not a regular file"):
        manifests.read(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [{"seconds": float("nan")}, {"summary": {"x": float("inf")}}, {"summary": {"x": object()}}],
    ids=["NaN", "infinity", "no JSON"],
)
def test_a_manifest_that_could_not_be_read_back_is_not_written(
    tmp_path: Path, changes: Table
) -> None:
    with pytest.raises(ArtifactError, match="cannot write a manifest"):
        manifests.write(tmp_path, sound(**changes))

    assert not (tmp_path / "manifest.json").exists()


@settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_every_flipped_bit_of_a_manifest_is_found(data: st.DataObject) -> None:
    content = bytearray(manifests.encode(sound()))
    position = data.draw(st.integers(0, len(content) * 8 - 1))
    content[position // 8] ^= 1 << position % 8

    with pytest.raises((Damaged, TooNew)):
        manifests.parse(bytes(content), WHERE)
