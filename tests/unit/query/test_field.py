"""A field kept one link at a time has the coherence that the formulas give anew."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.domains.network.formulas import coherence, field_coherence
from antiphon.model.errors import InvalidInput
from antiphon.query.field import Field

share = st.integers(0, 1_000_000)
moves = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), share, share), max_size=30)


@given(trust=st.lists(share, min_size=4, max_size=4), moves=moves, late=share)
def test_it_is_what_is_computed_anew(trust: list[int], moves: list[tuple[int, int, int, int]], late: int) -> None:
    field = Field(trust[:3])
    field.add(trust[3])
    links: dict[int, dict[int, tuple[int, int]]] = {at: {} for at in range(4)}
    for agent, peer, much, alike in moves:
        field.move(agent, trust=much, resonance=alike, before=links[agent].get(peer))
        links[agent][peer] = much, alike
    field.retrust(2, late)
    trusted = [*trust[:2], late, trust[3]]
    levels = [coherence(links[at].values()) for at in range(4)]
    assert [field.coherence_of(at) for at in range(4)] == levels
    assert field.coherence() == field_coherence(zip(trusted, levels, strict=True))
    again = Field(trusted)
    again.load(
        [sum(much for much, _ in links[at].values()) for at in range(4)],
        [sum(much * alike for much, alike in links[at].values()) for at in range(4)],
    )
    assert again.coherence() == field.coherence()


def test_a_field_is_loaded_whole() -> None:
    with pytest.raises(InvalidInput, match="as many"):
        Field([1, 2]).load([1], [1])
    assert Field().coherence() is None
