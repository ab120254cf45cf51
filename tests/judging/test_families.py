import pytest

from ketchup_cli.judging.families import familiar, families

NAMES = {
    "Qwen/Qwen2.5-7B-Instruct": {"Qwen"},
    "google/flan-t5-xl@abcdef": {"T5"},
    "meta-llama/Llama-3.1-8B-Instruct": {"Llama"},
    "gpt-5-mini": {"GPT"},
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": {"DeepSeek", "Qwen"},
    "HuggingFaceTB/SmolLM2-135M-Instruct": {"SmolLM"},
    "opus-mt-en-nl": {"Marian"},
    "kl-student": set(),
    "graphite-7b": set(),
}


@pytest.mark.parametrize(("name", "found"), NAMES.items())
def test_a_name_speaks_of_its_families_by_whole_words(name: str, found: set[str]) -> None:
    assert families(name) == found


def test_a_judge_is_familiar_with_whoever_came_from_its_family() -> None:
    writers = {"kl": ["kl", "Qwen/Qwen3-0.6B", "my-teacher"], "nll": ["nll", "flan-t5-small"]}

    found = familiar(["qwen3-32b", "gpt-5"], writers)

    assert found == (("qwen3-32b", "kl", "Qwen"),)
