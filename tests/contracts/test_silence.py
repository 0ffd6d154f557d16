"""A PostgreSQL that does not answer is cut off, one that only takes long over many things is not."""

from __future__ import annotations

import contextlib

import psycopg
import pytest

from antiphon.engines.postgres.connection import Server, translated
from antiphon.model.errors import Unavailable
from servers.places import PostgresPlace

pytestmark = pytest.mark.server
SILENCE_S = 2.0


def test_a_transaction_may_take_longer_than_a_silence(postgres: PostgresPlace) -> None:
    with contextlib.closing(Server(postgres.url(), silence_s_max=SILENCE_S)) as server:
        with server.transaction() as session:
            for _ in range(4):
                session.execute("SELECT pg_sleep(%s)", (SILENCE_S / 3,))
        with server.transaction() as session:
            slow = "SELECT repeat('x', 20000), pg_sleep(0.25) FROM generate_series(1, 12)"  # each fills a packet
            with session.cursor().copy(f"COPY ({slow}) TO STDOUT") as copy:
                assert sum(1 for _ in copy) == 12
            assert session.execute("SELECT 1").fetchone() == (1,)


def test_a_server_that_does_not_answer_for_so_long_is_cut_off(postgres: PostgresPlace) -> None:
    with contextlib.closing(Server(postgres.url(), silence_s_max=SILENCE_S)) as server:
        with server.transaction() as session:
            session.execute("SELECT 1")
            with pytest.raises(psycopg.OperationalError) as cut:
                session.execute("SELECT pg_sleep(60)")
        assert isinstance(translated(cut.value, server), Unavailable)
        with server.transaction() as session:
            assert session.execute("SELECT 1").fetchone() == (1,)
