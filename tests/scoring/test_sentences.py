import pytest

from ketchup_cli.scoring.sentences import split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Mr. Smith met J. Doe. They left.", ["Mr. Smith met J. Doe.", "They left."]),
        ("It cost 3.50 in all. 20 came.", ["It cost 3.50 in all.", "20 came."]),
        ('He said "No." Then he left.', ['He said "No."', "Then he left."]),
        ("ends with e.g. this one. And so on", ["ends with e.g. this one.", "And so on"]),
        ("one line\nAnother line\n\n", ["one line", "Another line"]),
        ("你好。再见!", ["你好。", "再见!"]),
        ("Wait... what? Élan vital.", ["Wait... what?", "Élan vital."]),
        ("It is No. 5 here. No. 6 is gone.", ["It is No. 5 here.", "No. 6 is gone."]),
        ("no end", ["no end"]),
        ("", []),
        (" \n ", []),
        (". A", [".", "A"]),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


def test_nothing_but_white_space_is_lost() -> None:
    text = "Dr. A. Bc went (see p. 3). Why? 'Because.' 5 more\nU.S. trade fell. x"

    assert "".join(split_sentences(text)).replace(" ", "") == "".join(text.split())
