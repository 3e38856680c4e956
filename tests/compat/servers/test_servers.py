"""A few hundred deliveries to a real server that is reloaded and killed, as `make receivers` makes 10,000 to each."""

from __future__ import annotations

import pytest

from tests.compat.servers.experiment import Load, deliver, running
from tests.compat.servers.kinds import KINDS
from tests.support.product import Process, client_of


@pytest.mark.slow
async def test_none_is_lost_and_none_is_doubled_without_a_reason_in_the_record(tmp_path, database_url, database):
    (gunicorn,) = [kind for kind in KINDS if kind.name == "gunicorn, workers `gthread`"]
    load = Load(deliveries=200, every=0.1, restarts=4, patience=60)
    async with (
        running(gunicorn, tmp_path) as server,
        Process("run", environment={"STORE_URL": database_url}, log=tmp_path / "log") as product,
        client_of(product.url) as client,
    ):
        books = await deliver(client, database, server, load)
    assert (books.lost, books.unexplained) == ([], [])
    assert (len(books.owed), len(books.states), server.restarts > 0) == (200, 200, True)
