import pytest

from ketchup_cli.errors import SpecError
from ketchup_cli.scoring.bleu import corpus_value
from ketchup_cli.scoring.languages import (
    check_script,
    check_tokenizer,
    pick_tokenizer,
    word_splitter,
)


@pytest.mark.parametrize("code", ["zh", "zh-CN", "zho_Hans", "ja", "jpn_Jpan", "ko", "kor_Hang"])
def test_13a_is_refused_where_words_have_no_spaces(code: str) -> None:
    with pytest.raises(SpecError, match="does not find words in"):
        check_tokenizer("13a", ("en", code))


@pytest.mark.parametrize("languages", [(), ("zh", "en"), ("en", "nl")])
def test_13a_serves_the_other_languages(languages: tuple[str, ...]) -> None:
    check_tokenizer("13a", languages)


@pytest.mark.parametrize(
    ("languages", "tokenizer"),
    [
        ((), "13a"),
        (("zh", "nl"), "13a"),
        (("en", "zho_Hans"), "zh"),
        (("en", "ja"), "ja-mecab"),
        (("en", "ko"), "ko-mecab"),
        (("en", "th"), "char"),
    ],
)
def test_auto_follows_the_language_of_the_references(
    languages: tuple[str, ...], tokenizer: str
) -> None:
    assert pick_tokenizer("auto", languages) == tokenizer


def test_a_tokenizer_that_is_named_is_taken() -> None:
    assert pick_tokenizer("char", ("en", "nl")) == "char"


def test_a_tokenizer_that_is_named_is_still_refused_where_it_misleads() -> None:
    with pytest.raises(SpecError, match="does not find words in `zh`"):
        pick_tokenizer("intl", ("en", "zh"))


def test_a_tokenizer_for_the_language_is_taken() -> None:
    value = corpus_value("bleu", ["你好世界啊"], [["你好世界啊"]], tokenize="zh")

    assert value == pytest.approx(100.0)


def test_text_without_spaces_of_no_declared_language_is_refused() -> None:
    with pytest.raises(SpecError, match="83% of the references' letters"):
        check_script("13a", (), ["你好世界啊 x"])


@pytest.mark.parametrize(
    ("tokenize", "languages", "texts"),
    [
        ("13a", (), ["a text with 你好"]),
        ("zh", (), ["你好世界"]),
        ("13a", ("zh", "en"), ["你好世界"]),
        ("13a", (), ["123"]),
    ],
    ids=["few", "fitting-tokenizer", "declared", "no-letters"],
)
def test_other_text_is_let_through(
    tokenize: str, languages: tuple[str, ...], texts: list[str]
) -> None:
    check_script(tokenize, languages, texts)


def test_words_are_those_bleu_sees() -> None:
    assert word_splitter("13a")("Hello, world. ") == ["Hello", ",", "world", "."]
