import pytest

from ketchup_cli.cli.pricing import priced
from ketchup_cli.errors import SpecError

TWO = ({"model": "small", "base_url": "http://a/v1"}, {"model": "org/large=2"})


def test_a_bare_price_is_that_of_all_judges() -> None:
    typed = {"price_prompt": ["0.15"], "price_cached": None, "price_completion": ["2"]}

    assert priced(typed, TWO, model=None) == {"price_prompt": 0.15, "price_completion": 2.0}


def test_a_price_with_a_name_is_that_of_one_judge() -> None:
    typed = {"price_prompt": ["small=1", "org/large=2=3"], "price_completion": ["0.5"]}

    found = priced(typed, TWO, model=None)

    assert found["price_completion"] == 0.5
    assert found["judges"] == (
        {"model": "small", "base_url": "http://a/v1", "price_prompt": 1.0},
        {"model": "org/large=2", "price_prompt": 3.0},
    )


def test_one_model_on_two_servers_is_told_apart_by_its_address() -> None:
    judges = tuple({"model": "m", "base_url": f"http://{host}/v1"} for host in "ab")

    found = priced({"price_prompt": ["m@http://b/v1=2"]}, judges, model=None)

    assert [judge.get("price_prompt") for judge in found["judges"]] == [None, 2.0]


def test_the_only_judge_may_be_named_too() -> None:
    assert priced({"price_prompt": ["m=2"]}, (), model="m") == {"price_prompt": 2.0}


WRONG = {
    "no-number": ("small=much", "`much` is no price"),
    "nobody": ("smal=1", "`smal` is not a judge; nearest: `small`"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_price_of_nobody_and_one_that_is_no_number_are_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        priced({"price_prompt": [text]}, TWO, model=None)

    assert message in caught.value.message
    assert caught.value.hint
