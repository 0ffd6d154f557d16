"""The quick way to a value's one form is the long one."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.model.errors import InvalidInput
from antiphon.model.table import Check, Column, Type
from antiphon.model.values import canonical, form_of

COLUMNS = [
    Column("real", Type.REAL, check=Check(least=0, most=1)),
    Column("real", Type.REAL, check=Check(least=-1)),
    Column("real", Type.REAL, check=Check(above=0)),
    Column("real", Type.REAL),
    Column("whole", Type.INTEGER, check=Check(most=100)),
    Column("whole", Type.INTEGER, check=Check(least=-5, among=(1, 2))),
    Column("id", Type.ID, nullable=False),
    Column("agent", Type.AGENT),
    Column("text", Type.TEXT, check=Check(length_max=3)),
]
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-6, 101), st.floats(), st.floats(-1, 2), st.text(max_size=5),
    st.binary(max_size=40), st.sampled_from([b"a" * 16, b"a" * 32, bytearray(16), -0.0, 0, math.inf, math.nan]),
)  # fmt: skip


def _tried(form: Any, *given: Any) -> tuple[str, Any]:
    try:
        found = form(*given)
    except InvalidInput as error:
        return "refused", str(error)
    return type(found).__name__, repr(found)


@pytest.mark.parametrize("column", COLUMNS)
@given(value=VALUES)
def test_the_quick_form_is_the_canonical_one(column: Column, value: Any) -> None:
    assert _tried(form_of(column), value) == _tried(canonical, column, value)
