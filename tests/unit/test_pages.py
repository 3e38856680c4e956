"""Pages of lists: how far one looks, and where the next one goes on."""

from __future__ import annotations

import pytest

from broker.store import pages
from broker.store.pages import Looked, Page, read_page


class List:
    """The numbers from 1 to 10,000, of which those that are *wanted* are asked for."""

    def __init__(self, wanted):
        self.wanted = wanted
        self.looks = []

    async def find(self, after, size):
        return list(range(after + 1, min(after + size, 10_000) + 1))

    async def look(self, keys, limit):
        self.looks.append(len(keys))
        found = [key for key in keys if self.wanted(key)][:limit]
        return Looked(found, found[-1] if len(found) == limit else keys[-1])

    async def page(self, *, after=0, limit=10):
        return await read_page(self.find, self.look, after=after, limit=limit)


@pytest.fixture
def patient(monkeypatch):
    """Let a page look for as long as it takes."""
    monkeypatch.setattr(pages, "BUDGET_SECONDS", 60)


async def test_what_is_common_takes_one_look():
    common = List(lambda _: True)
    assert await common.page() == Page(list(range(1, 11)), 10)
    assert common.looks == [100]


@pytest.mark.usefixtures("patient")
async def test_what_is_rare_is_looked_for_in_ever_larger_steps_up_to_a_bound():
    rare = List(lambda number: number % 4_000 == 0)
    assert await rare.page() == Page([4_000, 8_000], None)
    assert rare.looks[:4] == [100, 400, 1_000, 1_000]
    assert sum(rare.looks) == 10_000


async def test_a_page_ends_with_its_budget_although_it_has_found_nothing(monkeypatch):
    monkeypatch.setattr(pages, "BUDGET_SECONDS", 0)
    rare = List(lambda number: number == 9_999)
    assert await rare.page() == Page([], 100)
    assert rare.looks == [100]
    assert await rare.page(after=9_990) == Page([9_999], None)


@pytest.mark.usefixtures("patient")
async def test_a_full_page_says_where_the_next_one_goes_on_and_the_last_one_that_there_is_none():
    some = List(lambda number: number % 1_000 == 0)
    first = await some.page(limit=4)
    assert first == Page([1_000, 2_000, 3_000, 4_000], 4_000)
    assert await some.page(after=4_000, limit=100) == Page(list(range(5_000, 10_001, 1_000)), None)
    assert await some.page(after=10_000) == Page([], None)
