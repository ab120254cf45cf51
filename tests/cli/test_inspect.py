import json
import time
import tomllib
from pathlib import Path

import pytest

from ketchup_cli.objectives import names
from ketchup_cli.spec import resolve
from ketchup_cli.specs import ScoreSpec
from ketchup_cli.stages import STAGES
from ketchup_cli.store import find
from ketchup_cli.store.artifact import Input
from ketchup_cli.store.build import begin
from ketchup_cli.store.layout import Store


@pytest.fixture
def words(corpus, folder: Path) -> Path:
    """The folder of the corpus `words`."""
    del corpus
    return find.find(Store.open(folder / "runs"), "words").path


@pytest.fixture
def scored(words: Path, folder: Path) -> str:
    """Scores made from the corpus and from something that is not in the store; their id."""
    store = Store.open(folder / "runs")
    made_of = find.as_input(find.find(store, "words"), "corpus", label="words@1")
    gone = Input(
        role="generations",
        kind="generations",
        id="ab" * 32,
        digest="sha256:" + "cd" * 32,
        path=words,
        label="gone@1",
    )
    recipe = {"kind": "scores", "version": 1, "spec": {}, "inputs": [made_of, gone]}
    with begin(store, **recipe, label="test") as build:
        build.write_json("scores.json", [])
        artifact = build.commit(
            summary={"examples": 1, "split": "dev", "scores": {"bleu": {"value": 36.2}}},
            signature="score/1|v:0.1.0",
            environment={},
            seconds=1.0,
        )
    return artifact.id


def test_ls_is_a_table_of_what_the_store_holds(ketchup, corpus):
    header, row = ketchup("ls").out.splitlines()

    assert header.split() == ["kind", "name", "id", "made", "size", "note"]
    assert row.split()[:3] == ["corpus", "words@1", corpus.out.strip()]
    assert "3 + 1 examples" in row
    assert row.index("words@1") == header.index("name")


def test_ls_lists_what_has_no_name(ketchup, scored):
    rows = ketchup("ls").out.splitlines()[1:]

    (row,) = [row for row in rows if row.startswith("scores")]
    assert row.split()[1:3] == ["-", scored[:8]]
    assert "bleu 36.20, 1 examples of dev" in row


def test_ls_shows_the_newest_of_a_name_and_counts_the_others(ketchup, corpus):
    ketchup("corpus", "--train", "train.jsonl")

    rows = ketchup("ls").out.splitlines()[1:]

    assert len(rows) == 1
    assert "words@2" in rows[0]
    assert rows[0].endswith("(1 older)")
    assert corpus.out.strip() not in rows[0]


def test_ls_of_a_name_is_its_history(ketchup, corpus):
    newer = ketchup("corpus", "--train", "train.jsonl")

    rows = ketchup("ls", "words").out.splitlines()[1:]

    assert [row.split()[1:3] for row in rows] == [
        ["words@1", corpus.out.strip()],
        ["words@2", newer.out.strip()],
    ]


def test_ls_of_an_empty_store_writes_nothing_to_stdout(ketchup, folder):
    result = ketchup("ls")

    assert (result.code, result.out) == (0, "")
    assert "holds no artifact yet" in result.err
    assert not (folder / "runs").exists()


def test_ls_as_json_names_path_and_size(ketchup, words):
    (row,) = ketchup("ls", "--json").json["artifacts"]

    assert row["name"] == "words@1"
    assert Path(row["path"]).resolve() == words.resolve()
    listed = json.loads((words / "manifest.json").read_text())["files"]
    assert row["bytes"] == sum(entry["bytes"] for entry in listed)


def test_ls_tells_of_an_artifact_it_cannot_read_and_lists_the_others(ketchup, scored, words):
    del scored
    (words / "manifest.json").chmod(0o644)
    (words / "manifest.json").write_text("{", encoding="utf-8")

    result = ketchup("ls")

    assert result.code == 0
    assert "damaged" in result.err
    assert "scores" in result.out


def test_show_tells_id_signature_spec_and_files(ketchup, words):
    text = ketchup("show", "words").out

    assert words.name in text
    assert "signature    corpus/1|prompt_field:src|" in text
    assert "spec         template = {prompt}" in text
    assert "file         train.jsonl" in text


def test_show_finds_an_artifact_by_the_first_digits_of_its_id(ketchup, words):
    assert ketchup("show", words.name[:6]).out == ketchup("show", "words").out


def test_show_as_json_is_the_manifest(ketchup, words):
    document = ketchup("show", "words", "--json").json

    assert document["name"] == "words@1"
    assert document["manifest"] == json.loads((words / "manifest.json").read_text())


def test_show_with_tree_ends_with_the_lineage(ketchup, corpus):
    del corpus
    lineage = ketchup("lineage", "words").out

    assert ketchup("show", "words", "--tree").out.endswith(lineage)


def test_path_is_the_folder_alone(ketchup, words):
    assert Path(ketchup("path", "words").out.strip()).resolve() == words.resolve()


def test_lineage_is_a_tree_of_what_it_was_made_from(ketchup, scored, words):
    lines = ketchup("lineage", scored).out.splitlines()

    assert lines[0].split() == [scored[:8], "scores", scored[:8], "score"]
    assert lines[1].startswith("├─ words@1")
    assert words.name[:8] in lines[1]
    assert lines[2].startswith("│  ├─ train.jsonl")
    assert lines[3].startswith("│  └─ dev.jsonl")


def test_lineage_states_what_is_missing(ketchup, scored):
    last = ketchup("lineage", scored).out.splitlines()[-1]

    assert last.startswith("└─ gone@1")
    assert last.endswith("no longer in the store")


def test_lineage_as_json_is_nested(ketchup, scored):
    document = ketchup("lineage", scored, "--json").json["lineage"]

    words, gone = document["parents"]
    assert [parent["name"] for parent in words["parents"]] == ["train.jsonl", "dev.jsonl.gz"]
    assert (words["state"], gone["state"]) == ("present", "missing")


def test_verify_passes_an_intact_store(ketchup, corpus):
    del corpus
    result = ketchup("verify")

    assert result.code == 0
    assert result.out.startswith("intact   corpus  words@1")


def test_verify_and_ls_have_one_order_the_oldest_of_a_kind_first(
    ketchup, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    store, made, clock = Store.open(folder / "runs"), [], time.gmtime
    for day in range(6):
        monkeypatch.setattr(time, "gmtime", lambda day=day: clock(1e9 - 86400 * day))
        recipe = {"kind": "corpus", "version": 1, "spec": {"seed": day}, "inputs": []}
        with begin(store, **recipe, label="test") as build:
            build.write_bytes("a", b"a")
            artifact = build.commit(summary={}, signature="x/1", environment={}, seconds=1.0)
        made.insert(0, artifact.id[:8])
    monkeypatch.undo()
    monkeypatch.chdir(folder)

    assert [row.split()[2] for row in ketchup("ls").out.splitlines()[1:]] == made
    assert [row.split()[-1] for row in ketchup("verify").out.splitlines()] == made


def damage(folder: Path) -> None:
    folder.chmod(0o755)
    (folder / "extra.txt").write_text("x", encoding="utf-8")
    (folder / "dev.jsonl").unlink()
    file = folder / "train.jsonl"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes().replace(b"a", b"b", 1))


def test_verify_lists_extra_missing_and_changed_files_and_leaves_with_3(ketchup, words):
    damage(words)

    result = ketchup("verify", "words")

    assert result.code == 3
    assert result.out.splitlines()[1:] == [
        "  extra    extra.txt",
        "  missing  dev.jsonl",
        "  changed  train.jsonl",
    ]


def test_verify_as_json_lists_the_same(ketchup, words):
    damage(words)

    result = ketchup("verify", "--json")

    (report,) = result.json["artifacts"]
    assert (result.code, result.json["intact"]) == (3, False)
    assert (report["extra"], report["missing"]) == (["extra.txt"], ["dev.jsonl"])
    assert report["changed"] == ["train.jsonl"]


def test_a_quick_verify_does_not_read_contents(ketchup, words):
    file = words / "train.jsonl"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes().replace(b"a", b"b", 1))

    assert ketchup("verify", "--quick").code == 0
    assert ketchup("verify").code == 3


def test_objectives_are_listed_with_their_headlines(ketchup):
    lines = ketchup("objectives").out.splitlines()[1:]

    assert [line.split()[0] for line in lines] == list(names())
    assert all(line.endswith(".") for line in lines)


def test_one_objective_is_shown_with_fields_defaults_and_presets(ketchup):
    text = ketchup("objectives", "ketchup").out

    assert "objective.k " in text
    assert "Steps between bootstraps; 1 is LLMR." in text
    assert "preset paper" in text
    assert '  objective.value = "max"' in text


def test_one_objective_as_json(ketchup):
    document = ketchup("objectives", "ketchup", "--json").json

    assert document["fields"]["k"]["default"] == 4
    assert "released" in document["presets"]


def test_config_init_writes_a_file_that_changes_no_setting(ketchup, folder):
    (folder / "ketchup.toml").unlink()
    defaults = ketchup("config", "show", "--json").json["stages"]

    result = ketchup("config", "init")

    assert result.out == "ketchup.toml\n"
    assert ketchup("config", "show", "--json").json["stages"] == defaults


def test_the_comments_of_a_new_file_are_settings_that_exist(ketchup, folder):
    (folder / "ketchup.toml").unlink()
    ketchup("config", "init")
    lines = (folder / "ketchup.toml").read_text(encoding="utf-8").splitlines()
    settings = [
        line.removeprefix("# ") if line.startswith("# ") and " = " in line else line
        for line in lines
    ]

    tables = tomllib.loads("\n".join(settings))

    for name, stage in STAGES.items():
        assert resolve(stage.spec, tables[name], owner=name) == stage.spec()


def test_config_init_leaves_an_old_file_alone(ketchup, folder):
    before = (folder / "ketchup.toml").read_bytes()

    result = ketchup("config", "init")

    assert result.code == 2
    assert "`ketchup.toml` is there already" in result.err
    assert (folder / "ketchup.toml").read_bytes() == before


def test_config_show_tells_where_each_value_comes_from(ketchup):
    lines = ketchup("config", "show", "corpus", "--set", "max_characters=9").out.splitlines()

    origins = {line.split(" = ")[0]: line.partition("# ")[2] for line in lines if " = " in line}
    assert origins["prompt_field"] == "ketchup.toml"
    assert origins["max_characters"] == "--set"
    assert origins["template"] == "default"


def test_config_show_is_toml_again(ketchup):
    tables = tomllib.loads(ketchup("config", "show", "score").out)

    assert tables["names"]["student"] == "small"
    assert resolve(ScoreSpec, tables["score"], owner="score") == ScoreSpec()


def test_config_show_of_no_stage_shows_all(ketchup):
    tables = tomllib.loads(ketchup("config", "show").out)

    assert set(STAGES) <= set(tables)


def test_config_show_of_an_unknown_stage_is_refused(ketchup):
    result = ketchup("config", "show", "distil")

    assert result.code == 2
    assert "nearest: `distill`" in result.err


def test_env_tells_versions_device_disk_and_locks(ketchup):
    found = ketchup("env", "--json").json["environment"]

    assert {"ketchup", "python", "torch", "device", "memory", "disk", "locks"} <= set(found)
    assert found["locks"] == "flock works"


def test_env_leaves_nothing_behind(ketchup, folder):
    before = sorted(folder.rglob("*"))

    ketchup("env")

    assert sorted(folder.rglob("*")) == before
