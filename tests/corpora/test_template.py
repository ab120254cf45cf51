import shlex
from typing import Any

import pytest

from ketchup_cli.corpora.rows import Problem, Row
from ketchup_cli.corpora.template import Template, Texts
from ketchup_cli.errors import SpecError
from ketchup_cli.spec import parse_assignment
from ketchup_cli.specs import CorpusSpec


def apply(spec: CorpusSpec, fields: dict[str, object]) -> Texts | Problem:
    return Template.of(spec).apply(Row("line 1", fields))


def reason(spec: CorpusSpec, fields: dict[str, object]) -> str:
    found = apply(spec, fields)
    assert isinstance(found, Problem)
    return found.reason


SPEC = CorpusSpec(prompt_field="src", reference_field="tgt")


def test_the_default_template_is_the_prompt_field_alone() -> None:
    assert apply(SPEC, {"src": " a ", "tgt": "b\n"}) == Texts(" a ", ("b\n",))


def test_a_template_puts_words_around_the_prompt_and_other_fields() -> None:
    spec = CorpusSpec(
        prompt_field="src", reference_field="tgt", template="{lang}: {prompt} / {src} {{kept}}"
    )

    found = apply(spec, {"src": "hi", "tgt": "b", "lang": "nl"})

    assert found == Texts("nl: hi / hi {kept}", ("b",))


def test_braces_in_a_text_are_text() -> None:
    assert apply(SPEC, {"src": "{tgt} {0}", "tgt": "b"}) == Texts("{tgt} {0}", ("b",))


def test_a_template_without_the_prompt_field_does_not_need_it() -> None:
    spec = CorpusSpec(reference_field="tgt", template="say {src}")

    assert apply(spec, {"src": "hi", "tgt": "b"}) == Texts("say hi", ("b",))


def test_several_fields_and_a_list_in_a_field_are_several_references() -> None:
    spec = CorpusSpec(prompt_field="src", reference_field=("one", "more"))

    found = apply(spec, {"src": "a", "one": "b", "more": ["c", "d"]})

    assert found == Texts("a", ("b", "c", "d"))


def test_a_path_of_names_reaches_into_a_nested_field() -> None:
    spec = CorpusSpec(prompt_field="translation.en", reference_field="translation.nl")

    assert apply(spec, {"translation": {"en": "a", "nl": "b"}}) == Texts("a", ("b",))


def test_a_field_whose_name_holds_a_dot_wins_over_a_path() -> None:
    spec = CorpusSpec(prompt_field="a.b", reference_field="tgt")

    assert apply(spec, {"a.b": "x", "a": {"b": "y"}, "tgt": "z"}) == Texts("x", ("z",))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tgt": "b"}, "field missing"),
        ({"src": "a"}, "field missing"),
        ({"src": None, "tgt": "b"}, "field not text"),
        ({"src": 3, "tgt": "b"}, "field not text"),
        ({"src": "a", "tgt": 3}, "field not text"),
        ({"src": "a", "tgt": ["b", None]}, "field not text"),
        ({"src": " \t\n", "tgt": "b"}, "empty prompt"),
        ({"src": "a", "tgt": ""}, "empty reference"),
        ({"src": "a", "tgt": []}, "empty reference"),
        ({"src": "a", "tgt": ["b", " "]}, "empty reference"),
        ({"src": "a" * 11, "tgt": "b"}, "text too long"),
        ({"src": "a", "tgt": "b" * 11}, "text too long"),
    ],
)
def test_a_row_that_makes_no_example_says_why(fields: dict[str, object], expected: str) -> None:
    spec = CorpusSpec(prompt_field="src", reference_field="tgt", max_characters=10)

    assert reason(spec, fields) == expected


def test_words_of_the_template_do_not_make_an_empty_prompt_full() -> None:
    spec = CorpusSpec(prompt_field="src", reference_field="tgt", template="{doc} say {prompt}")

    assert reason(spec, {"src": "", "doc": "x", "tgt": "b"}) == "empty prompt"


@pytest.mark.parametrize(
    "template", ["{prompt", "prompt}", "{}", "plain words", "{prompt!r}", "{prompt:>9}"]
)
def test_a_template_that_cannot_be_filled_is_refused(template: str) -> None:
    with pytest.raises(SpecError, match="`template`"):
        Template.of(CorpusSpec(template=template))


def test_no_reference_field_is_refused() -> None:
    with pytest.raises(SpecError, match="names no field"):
        Template.of(CorpusSpec(reference_field=()))


def test_an_unknown_field_is_refused_with_the_nearest_names() -> None:
    template = Template.of(CorpusSpec(prompt_field="scr", reference_field="tgt"))
    row = Row("line 1", {"src": "a", "tgt": "b", "source_language": "en"})

    with pytest.raises(SpecError, match=r"`scr` is not a field of `x\.jsonl`; nearest: `src`"):
        template.check_fields(row, owner="x.jsonl")


@pytest.mark.parametrize("role", ["prompt_field", "reference_field"])
def test_the_hint_can_be_pasted_where_a_field_has_a_space(role: str) -> None:
    template = Template.of(
        CorpusSpec(**{"prompt_field": "a b", "reference_field": "a b", role: "x"})
    )

    with pytest.raises(SpecError) as caught:
        template.check_fields(Row("line 1", {"a b": "1"}), owner="x")
    flag, word = shlex.split(caught.value.hint or "")
    assert flag == "--set"
    assert parse_assignment(word) == {role: "a b"}


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"prompt_field": "scr"}, "--set prompt_field=src"),
        ({"reference_field": "tgd"}, "--set reference_field=tgt"),
        ({"document_field": "sr"}, "--set document_field=src"),
        ({"template": "{prompt} {scr}"}, "write `{src}` in `template`"),
    ],
    ids=["prompt", "reference", "document", "template"],
)
def test_the_hint_for_an_unknown_field_sets_the_nearest(changes: dict[str, Any], hint: str) -> None:
    template = Template.of(
        CorpusSpec(**{"prompt_field": "src", "reference_field": "tgt"} | changes)
    )

    with pytest.raises(SpecError) as caught:
        template.check_fields(Row("line 1", {"src": "a", "tgt": "b"}), owner="x")
    assert caught.value.hint == hint


DOCUMENTS = CorpusSpec(prompt_field="src", reference_field="tgt", document_field="from.doc")


@pytest.mark.parametrize(("named", "document"), [(" d 1\n", "d 1"), (7, "7"), ("", "")])
def test_a_row_says_which_document_it_is_from(named: object, document: str) -> None:
    found = apply(DOCUMENTS, {"src": "a", "tgt": "b", "from": {"doc": named}})

    assert found == Texts("a", ("b",), document)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, "field missing"), ({"doc": None}, "field not text"), ({"doc": True}, "field not text")],
)
def test_a_row_without_its_document_says_why(fields: dict[str, object], expected: str) -> None:
    assert reason(DOCUMENTS, {"src": "a", "tgt": "b", "from": fields}) == expected
