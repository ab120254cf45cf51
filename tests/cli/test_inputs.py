import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ketchup_cli.cli.inputs import Place, resolve_roles
from ketchup_cli.cli.project import Project
from ketchup_cli.errors import NotFound, SpecError
from ketchup_cli.specs import CacheTeacherSpec, ShrinkSpec
from ketchup_cli.stages import STAGES
from ketchup_cli.store import find
from ketchup_cli.store.layout import Store

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL_FILES = {"config.json": b'{"model_type": "t5"}', "model.safetensors": b"weights"}
HUB_FILES = MODEL_FILES | {"pytorch_model.bin": b"pickle", "modeling.py": b"code"}


def place(folder: Path, names: dict[str, str]) -> Place:
    project = Project(
        folder=folder,
        path=folder / "ketchup.toml",
        store=folder / "runs",
        names=names,
        tables={},
    )
    return Place(store=Store.open(folder / "runs", create=False), project=project)


def model_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    for name, content in MODEL_FILES.items():
        (path / name).write_bytes(content)
    return path


def test_a_folder_in_the_toml_is_relative_to_the_toml(folder):
    model_folder(folder / "beside" / "teacher")

    found = resolve_roles(
        STAGES["shrink"],
        ShrinkSpec(),
        {},
        place=place(folder / "beside", {"teacher": "./teacher"}),
    )

    assert found.inputs[0].input.path == folder / "beside" / "teacher"
    assert found.inputs[0].origin.endswith("ketchup.toml")


def test_a_folder_on_the_command_line_is_relative_to_the_current_folder(folder):
    model_folder(folder / "teacher")

    found = resolve_roles(
        STAGES["shrink"],
        ShrinkSpec(),
        {"teacher": "teacher"},
        place=place(folder / "elsewhere", {}),
    )

    assert found.inputs[0].input.path == Path("teacher")
    assert found.inputs[0].origin == "--teacher"


def test_a_flag_wins_over_the_toml(folder):
    for name in ("one", "two"):
        model_folder(folder / name)
    (folder / "two" / "config.json").write_text("{}", encoding="utf-8")

    found = resolve_roles(
        STAGES["shrink"],
        ShrinkSpec(),
        {"teacher": "two"},
        place=place(folder, {"teacher": "one"}),
    )

    assert found.inputs[0].input.digest == find.folder_input(folder / "two", "x").digest


def test_a_folder_that_is_not_there_is_no_hub_id(folder):
    with pytest.raises(NotFound, match="no folder `teacher`"):
        resolve_roles(
            STAGES["shrink"], ShrinkSpec(), {"teacher": "./teacher"}, place=place(folder, {})
        )


def test_a_name_with_two_meanings_is_refused(ketchup, corpus, folder):
    del corpus
    shutil.copytree(ketchup("path", "words").out.strip(), folder / "words")
    (folder / "words" / "train.jsonl").chmod(0o644)
    (folder / "words" / "train.jsonl").write_text("", encoding="utf-8")

    result = ketchup("new-model", "--dry-run")

    assert result.code == 2
    assert "`words` is both the artifact words@1 and the folder `words`" in result.err
    assert "hint: ./words is the folder, words@1 the artifact" in result.err


def test_a_folder_that_is_a_copy_of_the_artifact_is_no_second_meaning(ketchup, corpus, folder):
    del corpus
    shutil.copytree(ketchup("path", "words").out.strip(), folder / "words")

    assert ketchup("new-model", "--dry-run").code == 0


def test_a_role_the_settings_do_not_use_is_not_looked_up(ketchup, corpus, folder):
    del ketchup, corpus
    model_folder(folder / "teacher")
    names = {"teacher": "./teacher", "corpus": "words", "pseudo-targets": "not-made"}

    found = resolve_roles(
        STAGES["cache-teacher"], CacheTeacherSpec(), {}, place=place(folder, names)
    )

    assert [item.input.role for item in found.inputs] == ["teacher", "corpus"]


def test_what_a_needed_role_lacks_says_which_stage_makes_it(folder):
    names = {"teacher": "./teacher", "corpus": "words", "pseudo-targets": "not-made"}
    model_folder(folder / "teacher")

    with pytest.raises(NotFound) as caught:
        resolve_roles(
            STAGES["cache-teacher"],
            CacheTeacherSpec(completions="pseudo-targets"),
            {},
            place=place(folder, names),
        )

    assert "`words`" in caught.value.message
    assert caught.value.hint.startswith("make it with `ketchup corpus` or ")


def test_an_encoder_is_never_fetched_from_the_hub(folder):
    (encoder,) = (role for role in STAGES["score"].roles if role.name == "encoder")

    with pytest.raises(NotFound, match="no folder `org/name`, and the encoder is never fetched"):
        place(folder, {}).lookup("org/name", encoder, from_flag=True)


def test_a_dry_run_fetches_nothing_from_the_hub(ketchup):
    result = ketchup("shrink", "--teacher", "org/tiny", "--dry-run")

    assert result.code == 2
    assert "a dry run fetches nothing" in result.err


def test_a_role_without_any_name_is_an_error(folder):
    with pytest.raises(SpecError, match="shrink needs a teacher"):
        resolve_roles(STAGES["shrink"], ShrinkSpec(), {}, place=place(folder, {}))


class Hub(BaseHTTPRequestHandler):
    """Answers as much of the hub's protocol as a download of one small model takes."""

    main = COMMIT

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/api/models/org/tiny/revision/main":
            self.answer(json.dumps({"id": "org/tiny", "sha": self.main, "siblings": []}).encode())
        elif path == f"/api/models/org/tiny/tree/{COMMIT}":
            self.answer(json.dumps([tree_entry(*item) for item in HUB_FILES.items()]).encode())
        elif path.removeprefix(f"/org/tiny/resolve/{COMMIT}/") in HUB_FILES:
            self.answer(HUB_FILES[path.rsplit("/", 1)[1]])
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()

    do_HEAD = do_GET

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def tree_entry(path: str, content: bytes) -> dict[str, object]:
    oid = hashlib.sha1(content).hexdigest()
    return {"type": "file", "path": path, "size": len(content), "oid": oid}


class MovedHub(Hub):
    """The same hub after somebody pushed to the branch."""

    main = COMMIT[::-1]


@pytest.fixture
def hub() -> Iterator[str]:
    with serving(Hub) as address:
        yield address


@contextmanager
def serving(kind: type[Hub]) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(folder: Path, endpoint: str, name: str = "org/tiny") -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; from pathlib import Path\n"
        "from ketchup_cli.cli.inputs import fetch\n"
        "from ketchup_cli.errors import KetchupError\n"
        "try:\n"
        f"    print(*fetch({name!r}, None, pins=Path('pins'), download=True))\n"
        "except KetchupError as error:\n"
        "    sys.exit(f'{type(error).__name__}: {error.message} / {error.hint}')\n"
    )
    environment = {
        **{key: value for key, value in os.environ.items() if "proxy" not in key.lower()},
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_hub_model_is_fetched_without_code_and_pickles(folder, hub):
    fetched = fetch(folder, hub)

    assert fetched.returncode == 0, fetched.stderr
    path, commit = fetched.stdout.split()
    assert commit == COMMIT
    assert sorted(file.name for file in Path(path).iterdir()) == sorted(MODEL_FILES)


def test_a_hub_id_without_a_revision_keeps_its_first_commit(folder, hub):
    first = fetch(folder, hub)

    with serving(MovedHub) as address:
        again = fetch(folder, address)

    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout


def test_a_fetched_hub_model_needs_no_network(folder, hub):
    first = fetch(folder, hub)

    assert fetch(folder, "http://127.0.0.1:9").stdout == first.stdout


def test_a_hub_out_of_reach_names_the_two_alternatives(folder):
    failed = fetch(folder, "http://127.0.0.1:9")

    assert "ModelError: the model hub cannot be reached, so `org/tiny`" in failed.stderr
    assert "name an artifact (`ketchup ls`) or a local folder" in failed.stderr


def test_a_model_the_hub_does_not_have_is_named(folder, hub):
    failed = fetch(folder, hub, name="org/other")

    assert "ModelError: the hub shows you no model `org/other`" in failed.stderr
