"""Stamps rise whatever the wall clock does; times are read as people write them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.model import hlc, times
from antiphon.model.errors import InvalidInput

stamps = st.integers(0, (1 << 62) - 1)


@given(stamps, st.integers(0, (1 << 46) - 1))
def test_a_stamp_is_after_the_last_and_not_before_now(last: int, now_ms: int) -> None:
    stamp = hlc.first_stamp(last=last, now_ms=now_ms)
    assert stamp > last
    assert hlc.to_ms(stamp) >= now_ms
    assert stamp in (last + 1, hlc.from_ms(now_ms))


def test_the_counter_carries_into_the_milliseconds() -> None:
    last = hlc.from_ms(7) + 0xFFFF
    assert hlc.first_stamp(last=last, now_ms=7) == hlc.from_ms(8)
    assert hlc.to_ms(last + 1) == 8


def test_a_clock_set_back_keeps_the_order() -> None:
    last = hlc.first_stamp(last=0, now_ms=10_000)
    assert hlc.first_stamp(last=last, now_ms=1) == last + 1


@pytest.mark.parametrize(
    ("written", "ms"),
    [
        (5, 5),
        (-5, -5),
        ("1970-01-01", 0),
        ("1970-01-01T00:00:01Z", 1_000),
        (" 1970-01-01T01:00:00.250+01:00 ", 250),
        ("1969-12-31T23:59:59.999Z", -1),
        (datetime(1970, 1, 1, 0, 0, 2), 2_000),
        (datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), 0),
        (datetime(1970, 1, 1, 0, 0, 0, 999, tzinfo=UTC), 0),
    ],
)
def test_times_as_people_write_them(written: times.Time, ms: int) -> None:
    assert times.to_ms(written) == ms


@pytest.mark.parametrize("wrong", ["", "yesterday", "2026-13-01", "2026-02-30", "1/2/2026"])
def test_what_is_no_time_is_said_so(wrong: str) -> None:
    with pytest.raises(InvalidInput, match="is not a time"):
        times.to_ms(wrong)


def test_a_truth_is_no_time() -> None:
    with pytest.raises(InvalidInput):
        times.to_ms(True)


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_a_time_written_is_read_back(ms: int) -> None:
    assert times.to_ms(times.iso(ms)) == ms


@pytest.mark.parametrize("ms", [1 << 60, -(1 << 60)])
def test_times_beyond_the_calendar_are_still_shown(ms: int) -> None:
    assert times.iso(ms) == f"{ms}ms"


@pytest.mark.parametrize(
    ("written", "ms"),
    [("30d", 2_592_000_000), ("12h", 43_200_000), ("1.5 h", 5_400_000), ("5ms", 5), (" 2w ", 1_209_600_000)],
)
def test_ages(written: str, ms: int) -> None:
    assert times.age_ms(written) == ms


@pytest.mark.parametrize("wrong", ["", "d", "-1d", "1 month", "1e9d", "30"])
def test_what_is_no_age_is_said_so(wrong: str) -> None:
    with pytest.raises(InvalidInput, match="is not an age"):
        times.age_ms(wrong)


@pytest.mark.parametrize("wrong", ["9" * 400 + "y", "300000y", "9" * 17 + "ms"])
def test_an_age_beyond_reckoning_is_said_so(wrong: str) -> None:
    with pytest.raises(InvalidInput, match="is too long an age"):
        times.age_ms(wrong)
    assert times.age_ms("285000y") < 1 << 53
