"""Every example in a help text runs as printed, in a folder like examples/en-nl."""

import gzip
from pathlib import Path

import pytest
from foreign import write_rows
from tiny import make_examples, make_policy_folder

from ketchup_cli.cli import about, app, caches, inspect, report
from ketchup_cli.store import find
from ketchup_cli.store.layout import Store

SHIPPED = Path(__file__).resolve().parents[2] / "examples" / "en-nl"
TABLE = (
    *app.STAGE_COMMANDS,
    *inspect.COMMANDS,
    *report.COMMANDS,
    *about.COMMANDS,
    *about.CONFIG_COMMANDS,
    *caches.CACHE_COMMANDS,
)
EXAMPLES = [example.split()[1:] for _, _, example in TABLE]
STAGE_NAMES = [name for name, _, _ in app.STAGE_COMMANDS]
LOGPROBS = {"llm_text_generation_vllm_logprobs": [[-0.1]], "target_token_ids": [[1]]}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shipped settings, few rows and a tiny teacher, whose pipeline has run."""
    folder = tmp_path_factory.mktemp("en-nl")
    (folder / "data").mkdir()
    rows = make_examples(24)
    for split, part in (("train", rows[:16]), ("dev", rows[16:20]), ("test", rows[20:])):
        with gzip.open(folder / "data" / f"{split}.jsonl.gz", "wt", encoding="utf-8") as file:
            for row in part:
                file.write(f'{{"src": "{row.prompt}", "tgt": "{row.references[0]}"}}\n')
    write_rows(folder / "data" / "logprobs.parquet", [LOGPROBS])
    make_policy_folder(folder / "teacher")
    text = (SHIPPED / "ketchup.toml").read_text(encoding="utf-8")
    (folder / "ketchup.toml").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        splits = (f"--{name}=data/{name}.jsonl.gz" for name in ("train", "dev", "test"))
        for arguments in (
            ("corpus", *splits),
            ("cache-teacher",),
            ("seqkd", "--set", "decoding.max_new_tokens=4", "--set", "filters.unfinished=false"),
            ("shrink", "--set", "encoder=1"),
            ("shrink", "--set", "encoder=1", "--name", "kl-student"),
            ("shrink", "--set", "encoder=2", "--name", "ketchup-student"),
            (
                *("distill", "--objective", "okd", "--student", "kl-student"),
                *("--name", "okd-student", "--set", "updates=1", "--set", "objective.rank=2"),
                *("--set", "validation.metric=loss", "--set", "teacher=live"),
            ),
            *(
                (
                    *("generate", "--model", model, "--name", f"{model}-test"),
                    *("--set", "decoding.max_new_tokens=4"),
                )
                for model in ("kl-student", "ketchup-student")
            ),
        ):
            assert app.run(arguments) == 0
    return folder


@pytest.mark.parametrize("arguments", EXAMPLES, ids=" ".join)
def test_an_example_runs_as_printed(
    pipeline: Path,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(pipeline)
    if arguments == ["config", "init"]:
        (pipeline / "ketchup.toml").rename(pipeline / "kept.toml")
    # a plan is enough: what the stages do with it is tested elsewhere
    works = arguments[0] in STAGE_NAMES or arguments[:2] == ["cache", "import"]
    more = ["--dry-run"] if works else []

    code = app.run([*arguments, *more])

    if arguments == ["config", "init"]:
        (pipeline / "kept.toml").rename(pipeline / "ketchup.toml")
    assert code == 0, capsys.readouterr().err


def test_the_shipped_settings_name_the_results(pipeline: Path):
    named = find.names(Store.open(pipeline / "runs", create=False))

    assert {"en-nl", "small"} <= set(named)
