"""Secrets in URLs: a value stands where it was put, whatever signs it has, and no error shows it."""

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon import InvalidInput
from antiphon.engines.urls import engine_at, shown
from antiphon.engines.variables import check_url, filled, variables_of

VALUES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30)


@given(user=VALUES, password=VALUES, name=VALUES)
def test_a_value_stays_in_its_place(user: str, password: str, name: str) -> None:
    url = filled("postgresql://${U}:${P}@db.internal:5432/${N}?application_name=${N}",
                 {"U": user, "P": password, "N": name})  # fmt: skip
    parts = urlsplit(url)
    assert (parts.hostname, parts.port, parts.fragment) == ("db.internal", 5432, "")
    assert (unquote(parts.username or ""), unquote(parts.password or "")) == (user, password)
    assert (unquote(parts.path), unquote(parts.query)) == ("/" + name, "application_name=" + name)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("redis://${SECRET}/0", r"\$\{SECRET\} is no host and no port"),
        ("redis://${NOPE}/0", r"\$\{NOPE\}, which is not in the environment"),
        ("redis://:${EMPTY}@h/0", r"\$\{EMPTY\}, which is empty"),
        ("${SECRET}", r"\$\{SECRET\} is no URL"),
        ("${SECRET}://h", r"\$\{SECRET\} stands before ://"),
    ],
)
def test_what_cannot_stand_there_is_refused_by_name(template: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        filled(template, {"SECRET": "p@ss/w0rd#1", "EMPTY": ""})
    assert "w0rd" not in str(refused.value)


def test_a_host_and_a_whole_url_are_taken_as_they_are() -> None:
    known = {"HOST": "db.internal:5432", "HOSTS": "a:1,b:2", "URL": "redis://:p%40@h/0"}
    assert filled("postgresql://u@${HOST}/x", known) == "postgresql://u@db.internal:5432/x"
    assert filled("postgresql://u@${HOSTS}/x", known) == "postgresql://u@a:1,b:2/x"
    assert filled("${URL}", known) == "redis://:p%40@h/0"
    assert variables_of("redis://:${P}@${H}/${P}") == ["P", "H"]


@pytest.mark.parametrize("password", ["p@ss", "pa/ss", "pa#ss", "pa?ss", "p@ss/w0rd#1"])
def test_a_password_that_ends_early_is_refused_without_being_shown(password: str) -> None:
    for scheme in ("postgresql", "redis"):
        url = f"{scheme}://fleet:{password}@db.internal:5432/fleet"
        with pytest.raises(InvalidInput, match="write @ as %40") as refused:
            engine_at(url)
        assert "ss" not in str(refused.value).replace("password", "").replace("PGPASSWORD", "")


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:p@[::1]:5432/x", "redis://h", "postgresql:///x?host=/run/pg", "redis://h/0?prefix={fleet}:",
     "postgresql://u:p%40@a:1,b:2/x", "nothing"],
)  # fmt: skip
def test_what_is_right_is_left_alone(url: str) -> None:
    check_url(url)


def test_a_url_is_shown_without_its_password() -> None:
    assert shown("postgresql://fleet:${P}@${HOST}:${PORT}/x") == "postgresql://fleet@${HOST}:${PORT}/x"
    assert shown("redis://:secret@h:1/0?prefix=a") == "redis://h:1/0"
