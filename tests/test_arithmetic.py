"""The corpus of examples/arithmetic is what its script says, and its lines have settings that exist."""

import gzip
import importlib.util
import random
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from command_lines import parse

from ketchup_cli.cli.project import load_project
from ketchup_cli.scoring import exact

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "arithmetic"


def typed(script: str) -> list[str]:
    """Return the command lines of a script, shell variables as words."""
    text = (FOLDER / script).read_text(encoding="utf-8").replace("\\\n", " ")
    text = text.replace('"$@"', "run").replace('"${students[@]/%/-$split}"', "one two")
    lines = re.findall(r"^ *((?:ketchup|learn) .+)$", re.sub(r"\$\w+", "2", text), re.MULTILINE)
    return [re.sub(r"^learn", "ketchup distill --name", line) for line in lines]


@pytest.fixture(scope="module")
def corpus() -> ModuleType:
    spec = importlib.util.spec_from_file_location("arithmetic_problems", FOLDER / "problems.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Template:
    """A template of the package with one number that has to be even, up to `most`."""

    constrained_lines = ("n = range(0, most)",)
    id_orig = 7

    def __init__(self, number: int, *, most: int) -> None:
        self.id_shuffled = number
        self.most = most

    def _precompute_unconstrained(self, words):
        return words["names"]

    def _get_all_possible_assignments(self, lines, words):
        assert (lines, words) == (self.constrained_lines, WORDS)
        return {"n": [{"n": n} for n in range(self.most)]}

    def _filter_invalid_combinations_streaming(self, drawn):
        return [one for one in drawn["n"] if one["n"] % 2 == 0]

    def _generate_question(self, words, dice, numbers, names):
        assert words is WORDS
        n = dice.choice(numbers)["n"]
        chain = f"{dice.choice(names)} has 3*{n}=<<3*{n}={3 * n}>>{3 * n} in all, of {self.id_shuffled}."
        return SimpleNamespace(question=f"3 bags of {n}?", answer=f"{chain}\n#### {3 * n}\n")


WORDS = {"names": ["Ada", "Bo"]}


def test_a_row_holds_the_chain_its_sums_and_its_answer(corpus):
    row = corpus.problems(Template(4, most=3), 1, WORDS)[0]

    assert row["answer"].endswith(f">>{row['final']} in all, of 4.\n#### {row['final']}")
    n = int(row["final"]) // 3
    assert row["sums"] == f"<<3*{n}={row['final']}>>\n#### {row['final']}"
    assert exact.read_strict(row["sums"]) == row["final"]
    assert (row["template"], row["gsm8k_id"]) == (4, 7)


def test_problems_differ_and_fulfil_their_conditions(corpus):
    rows = corpus.problems(Template(0, most=50), 40, WORDS)

    assert len({row["question"] for row in rows}) == len(rows) == 25
    assert all(int(row["final"]) % 6 == 0 for row in rows)


def test_no_problem_stands_in_two_splits(corpus):
    rows = corpus.problems(Template(0, most=600), 126, WORDS)
    parts = dict(corpus.parted(rows, 0))

    assert {split: len(part) for split, part in parts.items()} == {
        "iid": 9,
        "train": 111,
        "seen": 6,
    }
    questions = [row["question"] for part in parts.values() for row in part]
    assert len(set(questions)) == len(questions) == 126


def test_a_template_of_few_problems_is_left_out_of_what_is_learnt(corpus):
    rows = corpus.problems(Template(0, most=16), 126, WORDS)

    assert list(corpus.parted(rows, 0)) == []
    assert dict(corpus.parted(rows, 80)) == {"test": rows}


@pytest.mark.parametrize(("number", "split"), [(75, "train"), (76, "dev"), (99, "test")])
def test_a_template_is_learnt_or_asked_unseen(corpus, number, split):
    parts = dict(corpus.parted([{}] * 126, number))

    assert split in parts
    assert (len(parts) == 1) == (split != "train")


def test_a_chain_without_a_number_at_its_end_is_left_out(corpus):
    assert [corpus.is_number(text) for text in ("-3", "1,200", "4.5")] == [True] * 3
    assert not any(corpus.is_number(text) for text in ("", "3/4", "4.5.6", "twelve", "-"))


def test_the_same_rows_give_the_same_bytes(corpus, tmp_path):
    rows = [{"question": "1 € + 1 €?", "final": random.Random(0).random()}]
    for name in ("first", "second"):
        corpus.write(tmp_path / name, rows)

    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert "€" in gzip.decompress((tmp_path / "first").read_bytes()).decode()


def test_a_machine_without_the_python_is_told_what_to_do(corpus, tmp_path):
    with pytest.raises(corpus.CorpusError, match="no `python9`") as raised:
        corpus.main(["--python", "python9", "--out", str(tmp_path)])

    assert "--python PATH" in raised.value.hint


@pytest.mark.parametrize("stage", ["corpus", "new-model", "train"])
def test_the_settings_of_the_teacher_are_ones_that_exist(stage):
    project = load_project(FOLDER / "teacher.toml", store=None)

    origins = parse(f"ketchup {stage}", project).origins

    assert str(project.path) in origins.values()


@pytest.mark.parametrize("line", [*typed("pipeline.sh"), *typed("teacher.sh")])
def test_a_line_has_settings_that_exist(line):
    origins = parse(line, load_project(FOLDER / "ketchup.toml", store=None)).origins

    assert ("--set" in origins.values()) == ("--set" in line)


def test_the_pipeline_learns_by_several_k_and_by_both_rewards():
    text = (FOLDER / "pipeline.sh").read_text(encoding="utf-8")

    assert "for k in 1 2 4 8; do" in text
    assert re.findall(r"--objective (\S+)", text) == ["kl", "kdrl", "dph_rl"]
