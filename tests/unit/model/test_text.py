"""Ids as text: one spelling each, and back; entity ids are where and when they were made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.model import text
from antiphon.model.errors import InvalidInput
from antiphon.model.text import EntityIds

ids32 = st.binary(min_size=32, max_size=32)
seqs = st.integers(0, (1 << 40) - 1)


@given(ids32)
def test_an_id_comes_back(raw: bytes) -> None:
    written = text.id_text(raw)
    assert text.parse_id(written) == raw
    assert len(written) == 53
    assert written == written.lower()


@given(ids32, seqs)
def test_an_event_id_comes_back(raw: bytes, seq: int) -> None:
    assert text.parse_event(text.event_text(raw, seq)) == (raw, seq)


LOG = text.id_text(bytes(range(32)))


@pytest.mark.parametrize(
    "wrong",
    ["", "b", LOG.upper(), LOG[1:], "z" + LOG[1:], LOG + "a", LOG[:-1], LOG[:-1] + "z", LOG + "======", "ß" * 53, "\0"],
)
def test_other_spellings_are_no_ids(wrong: str) -> None:
    with pytest.raises(InvalidInput):
        text.parse_id(wrong)


@pytest.mark.parametrize(
    "wrong",
    [LOG, "/0", LOG + "/", LOG + "/01", LOG + "/-1", LOG + "/+1", LOG + "/1 ", LOG + "/٣", LOG + "/" + "9" * 5_000],
)
def test_other_spellings_are_no_event_ids(wrong: str) -> None:
    with pytest.raises(InvalidInput):
        text.parse_event(wrong)


@given(st.binary(min_size=16, max_size=16))
def test_an_entity_id_comes_back(raw: bytes) -> None:
    assert text.parse_entity(text.entity_text(raw)) == raw
    assert text.parse_entity(text.entity_text(raw).upper()) == raw


@pytest.mark.parametrize(
    "wrong", ["", "00", "g" * 36, "0" * 32, " " + "0" * 31, "0" * 8 + "-" + "0" * 27, "{" + "0" * 36]
)
def test_other_spellings_are_no_entity_ids(wrong: str) -> None:
    with pytest.raises(InvalidInput):
        text.parse_entity(wrong)


@given(ids32, st.integers(0, (1 << 63) - 1), seqs, st.integers(0, 65_535))
def test_an_entity_id_says_when_and_nothing_else(log: bytes, hlc: int, seq: int, n: int) -> None:
    made = EntityIds(log).of(hlc, seq, n)
    assert int.from_bytes(made[:6], "big") == hlc >> 16
    assert made[6] >> 4 == 7
    assert made[8] >> 6 == 2
    twin = EntityIds(log).of(hlc ^ 0xFFFF, seq, n)
    assert twin == made  # the counter is not in it: seq and n tell events apart


def test_entities_are_told_apart_by_log_seq_and_number() -> None:
    made = {EntityIds(bytes([log]) * 32).of(5 << 16, seq, n) for log in range(3) for seq in range(50) for n in range(3)}
    assert len(made) == 450


def test_natural_ids_are_the_same_everywhere_and_differ_by_domain() -> None:
    assert text.natural_id("tone", "calm") == text.natural_id("tone", "calm")
    assert text.natural_id("tone", "calm") != text.natural_id("ton", "ecalm")
    assert text.natural_id("tone", "calm")[6] >> 4 == 8
    assert text.natural_id("tone", "calm")[8] >> 6 == 2


@pytest.mark.parametrize("fine", ["", "a\0b", "😀", "\u202eabc", "\uffff", "ä" * 10_000])
def test_text_that_everybody_can_store(fine: str) -> None:
    assert text.check_text(fine, what="it") == fine


@pytest.mark.parametrize("bad", ["\ud800", "a\udfffb"])
def test_lone_surrogates_are_refused_with_their_place(bad: str) -> None:
    with pytest.raises(InvalidInput, match=r"lone surrogate at character"):
        text.check_text(bad, what="it")


@pytest.mark.parametrize("wrong", ["", "-1", "1.0", "٣", " 1", "1" * 14, "9" * 5_000])
def test_what_is_no_number_of_an_event_is_said_so(wrong: str) -> None:
    with pytest.raises(InvalidInput, match="is not the number of an event"):
        text.parse_seq(wrong)
    with pytest.raises(InvalidInput, match="is not an event id"):
        text.parse_event(f"{text.id_text(bytes(32))}/{wrong}")


def test_the_number_of_an_event() -> None:
    assert [text.parse_seq(written) for written in ("0", "12", "9" * 13)] == [0, 12, 9_999_999_999_999]


@given(st.text())
def test_the_key_of_a_name_is_its_own_key(name: str) -> None:
    key = text.name_key(name)
    assert text.name_key(key) == key
    assert text.name_key(f" {name.upper().lower()}\t") == text.name_key(name.upper().lower())


@pytest.mark.parametrize(
    "spellings",
    [
        ["Grace", "grace ", "\u00a0GRACE", "\uff27race"],
        ["Grace  Hopper", "grace\thopper", " GRACE\u3000HOPPER\n"],
        ["José", "Jose\u0301", "JOSÉ"],
        ["Weiß", "WEISS", "weiss"],
        ["Σίσυφος", "ΣΊΣΥΦΟΣ"],
    ],
)
def test_spellings_of_one_name_have_one_key(spellings: list[str]) -> None:
    assert len(set(map(text.name_key, spellings))) == 1


def test_other_names_have_other_keys() -> None:
    names = ["Grace", "Grace H", "GraceH", "Gráce", "Grase", "Γrace"]
    assert len(set(map(text.name_key, names))) == len(names)


def test_counts_agree_with_their_nouns() -> None:
    said = [text.counted(0, "event"), text.counted(1, "event"), text.counted(2_000, "event")]
    assert said == ["0 events", "1 event", "2,000 events"]
    assert [text.counted(count, "memory", "memories") for count in (1, 2)] == ["1 memory", "2 memories"]
