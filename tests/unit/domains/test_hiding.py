"""Names of people out of texts, however they are spelled there."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon import InvalidInput
from antiphon.domains.loops.hiding import tokenized


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@pytest.mark.parametrize("said", ["Zoë", "ZOË", "zoë", "Ｚｏë", "Zo\u200bë", "Zo\u00adë"])
def test_a_name_is_hidden_however_it_is_composed(form: str, said: str) -> None:
    for name in ("Zoë", unicodedata.normalize("NFD", "Zoë")):
        text = f"ask {unicodedata.normalize(form, said)}, she knows"
        assert tokenized(text, [name]) == "ask [person 1], she knows"


@pytest.mark.parametrize(
    ("text", "hide", "wanted"),
    [
        ("Zoë\n Smith and Zoë", ["Zoë Smith", "Zoë"], "[person 1] and [person 2]"),
        ("person Ann", ["Ann", "person"], "[person 2] [person 1]"),
        ("Ann, Annabel", ["ann"], "[person 1], Annabel"),
        ("the ﬁrst STRASSE", ["Straße"], "the ﬁrst [person 1]"),
        ("김철수", [unicodedata.normalize("NFD", "김철수")], "[person 1]"),
        ("nobody", [], "nobody"),
    ],
)
def test_names_stand_as_words(text: str, hide: list[str], wanted: str) -> None:
    assert tokenized(text, hide) == wanted


@pytest.mark.parametrize("text", ["Zoe came", "Zoe\u0308s", "", "ZoëSmith"])
def test_a_name_that_is_not_there_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not in the text"):
        tokenized(text, ["Zoë"])
    with pytest.raises(InvalidInput, match="is not in the text"):
        tokenized(unicodedata.normalize("NFD", "Zoë"), ["Zoe"])
    with pytest.raises(InvalidInput, match="is not in the text"):
        tokenized("a text", ["\u200b"])


WORDS = st.text(st.characters(categories=("Lu", "Ll", "Lo")), min_size=1, max_size=6)


@given(before=WORDS, name=WORDS, after=WORDS, form=st.sampled_from(["NFC", "NFD"]))
def test_what_is_not_the_name_stays_as_it_is(before: str, name: str, after: str, form: str) -> None:
    said = unicodedata.normalize(form, name)
    made = tokenized(f"{before} - {said} - {after}", [name])
    assert "[person 1]" in made
    left, _, right = made.partition(" - [person 1] - ")
    assert left in (before, "[person 1]")
    assert right in (after, "[person 1]")
