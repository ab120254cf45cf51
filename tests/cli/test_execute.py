import json
import re
import subprocess
import sys
from pathlib import Path

from ketchup_cli.spec import identity, resolve
from ketchup_cli.stages import STAGES
from ketchup_cli.store import find
from ketchup_cli.store.build import begin
from ketchup_cli.store.layout import Store

IMPORT = ("corpus", "--train", "train.jsonl", "--dev", "dev.jsonl.gz")


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_stdout_is_the_short_id_and_nothing_else(ketchup):
    result = ketchup(*IMPORT)

    assert result.code == 0
    assert len(result.out) == 9
    int(result.out, 16)


def test_the_result_gets_the_name_of_its_role_in_the_toml(ketchup, corpus, folder):
    del ketchup
    artifact = find.find(Store.open(folder / "runs"), "words")

    assert artifact.id.startswith(corpus.out.strip())


def test_name_wins_over_the_toml(ketchup, folder):
    ketchup(*IMPORT, "--name", "mine")

    assert set(find.names(Store.open(folder / "runs"))) == {"mine"}


def test_the_same_command_again_is_already_done(ketchup, corpus):
    again = ketchup(*IMPORT)

    assert again.out == corpus.out
    assert again.err.startswith("already done    corpus   words@1")


def test_a_cache_hit_touches_no_file_of_the_artifact(ketchup, corpus, folder):
    del corpus
    before = everything_in(folder)

    ketchup(*IMPORT)

    assert everything_in(folder) == before


def test_a_cache_hit_imports_neither_the_stage_nor_torch(corpus, folder):
    del corpus
    code = (
        "import sys; from ketchup_cli.cli.app import run;"
        f"run({list(IMPORT)!r});"
        "print(*(n for n in ('torch', 'ketchup_cli.stages.corpus') if n in sys.modules), 'end')"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )

    assert "already done" in done.stderr
    assert done.stdout.splitlines()[-1] == " end".strip()


def test_a_cache_hit_takes_the_new_name(ketchup, corpus, folder):
    del corpus
    ketchup(*IMPORT, "--name", "second")

    assert set(find.names(Store.open(folder / "runs"))) == {"second", "words"}


def test_a_dry_run_shows_the_plan_and_touches_nothing(ketchup, folder):
    before = everything_in(folder)

    result = ketchup(*IMPORT, "--dry-run")

    assert result.code == 0
    assert re.search(r"^prompt +src$", result.err, re.MULTILINE)
    assert "nothing was written" in result.err
    assert everything_in(folder) == before
    assert not (folder / "runs").exists()


def test_a_dry_run_of_what_is_done_gives_no_name(ketchup, corpus, folder):
    del corpus
    ketchup(*IMPORT, "--name", "second", "--dry-run")

    assert set(find.names(Store.open(folder / "runs"))) == {"words"}


def test_a_dry_run_prints_the_id_the_real_run_will_have(ketchup):
    dry = ketchup(*IMPORT, "--dry-run")
    real = ketchup(*IMPORT)

    assert dry.out == real.out


def test_json_is_one_document_with_the_whole_artifact(ketchup):
    document = ketchup(*IMPORT, "--json").json

    assert set(document) == {
        "schema_version",
        "kind",
        "id",
        "digest",
        "name",
        "path",
        "already_done",
        "summary",
    }
    assert document["name"] == "words@1"
    assert document["already_done"] is False
    assert document["summary"]["examples"] == {"train": 3, "dev": 1}
    assert (Path(document["path"]) / "train.jsonl").is_file()


def test_json_of_a_cache_hit_says_so(ketchup, corpus):
    del corpus
    assert ketchup(*IMPORT, "--json").json["already_done"] is True


def test_json_of_a_dry_run_holds_plan_inputs_and_spec(ketchup):
    document = ketchup(*IMPORT, "--dry-run", "--json").json

    assert document["dry_run"] is True
    assert [item["role"] for item in document["inputs"]] == ["train", "dev"]
    assert document["spec"]["prompt_field"] == "src"
    assert ["bad rows", "error"] in document["plan"]


def test_set_wins_over_the_toml(ketchup):
    result = ketchup(*IMPORT, "--set", "prompt_field=tgt", "--json")

    row = json.loads((Path(result.json["path"]) / "train.jsonl").read_text().splitlines()[0])
    assert row["prompt"] == "een klein huis"


def test_an_unknown_key_is_refused_with_the_nearest_names(ketchup):
    result = ketchup(*IMPORT, "--set", "promt_field=x")

    assert result.code == 2
    assert result.err.startswith("error: `promt_field` is not a field of corpus; nearest: `prompt_")
    assert "hint: ketchup config show corpus" in result.err


def test_an_unknown_artifact_is_refused_with_the_nearest_names(ketchup, corpus):
    del corpus
    result = ketchup("new-model", "--corpus", "wrods")

    assert result.code == 2
    assert "no artifact `wrods`" in result.err
    assert "nearest: `words`" in result.err


def test_a_role_without_a_name_says_how_to_name_it(ketchup):
    result = ketchup("generate", "--corpus", "words")

    assert result.code == 2
    assert "generate needs a model, and none is named" in result.err
    assert '--model NAME, or `model = "NAME"` under [names]' in result.err


def test_an_artifact_of_another_kind_is_refused(ketchup, corpus):
    del corpus
    result = ketchup("shrink", "--teacher", "words")

    assert result.code == 2
    assert "`words` is a corpus, not a model" in result.err


def test_a_damaged_input_stops_the_stage_before_it_starts(ketchup, corpus, folder):
    del corpus
    file = find.find(Store.open(folder / "runs"), "words").path / "train.jsonl"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes().replace(b"small", b"sMall"))

    result = ketchup("new-model")

    assert result.code == 3
    assert "changed `train.jsonl`" in result.err
    assert not (folder / "runs" / "objects" / "model").exists()


def test_an_artifact_another_process_builds_is_busy(ketchup, folder):
    planned = ketchup(*IMPORT, "--dry-run", "--json").json
    inputs = [
        find.file_input(folder / "train.jsonl", "train"),
        find.file_input(folder / "dev.jsonl.gz", "dev"),
    ]
    building = begin(
        Store.open(folder / "runs"),
        kind="corpus",
        version=1,
        spec=identity(resolve(STAGES["corpus"].spec, planned["spec"], owner="corpus")),
        inputs=inputs,
        label="another run",
    )

    with building:
        result = ketchup(*IMPORT)

    assert result.code == 6
    assert "another run" in result.err
    assert result.out == ""


def test_a_file_that_is_not_there_is_named(ketchup):
    result = ketchup("corpus", "--train", "nowhere.jsonl")

    assert result.code == 2
    assert "no file `nowhere.jsonl`" in result.err


def test_a_bad_row_leaves_no_artifact_and_no_name(ketchup, folder):
    with (folder / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write("{not JSON\n")

    result = ketchup(*IMPORT)

    assert result.code == 1
    assert "train.jsonl" in result.err
    assert "line 4" in result.err
    assert not list((folder / "runs").glob("objects/*/*"))
    assert find.names(Store.open(folder / "runs")) == {}


def test_moses_files_are_given_with_a_comma(ketchup, folder):
    (folder / "train.en").write_text("one\ntwo\n", encoding="utf-8")
    (folder / "train.nl").write_text("een\ntwee\n", encoding="utf-8")

    result = ketchup("corpus", "--train", "train.en,train.nl", "--json")

    assert result.code == 0, result.err
    assert result.json["summary"]["examples"] == {"train": 2}


def test_a_flag_nothing_would_read_is_refused(ketchup, corpus):
    del corpus
    result = ketchup("distill", "--objective", "nll", "--student", "x", "--cache", "y")

    assert result.code == 2
    assert "`--cache y` would not be read" in result.err


def test_a_process_that_works_along_publishes_nothing(ketchup, folder, monkeypatch):
    monkeypatch.setenv("RANK", "1")

    result = ketchup(*IMPORT)

    assert result.code == 0
    assert result.out == ""
    assert not list((folder / "runs").glob("objects/*/*"))


def test_termination_ends_with_143_and_lets_the_lock_go(folder):
    (folder / "slow.py").write_text(
        "import os, signal, sys\n"
        "from ketchup_cli.stages import corpus\n"
        "from ketchup_cli.cli.app import run\n"
        "corpus.run = lambda *_: os.kill(os.getpid(), signal.SIGTERM) or signal.pause()\n"
        f"sys.exit(run({list(IMPORT)!r}))\n",
        encoding="utf-8",
    )

    killed = subprocess.run(
        [sys.executable, "slow.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert killed.returncode == 143
    assert "interrupted; the same command goes on from here" in killed.stderr


def test_the_manifest_tells_the_stage_and_its_changed_settings(corpus, folder):
    del corpus
    signature = find.find(Store.open(folder / "runs"), "words").manifest.signature

    assert signature.startswith("corpus/1|prompt_field:src|reference_field:tgt|train:")
