"""The address of ``/console`` in a real browser: links with a token where it is open, and what is no address."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.integration.test_console_in_browser import button, opened
from tests.support.product import ADMIN_TOKEN

pytestmark = pytest.mark.slow


def overview(tab):
    return tab.page.get_by_role("heading", name="Overview", level=1)


async def test_a_link_that_is_opened_where_the_console_is_asks_too(client, tab, name):
    token = await client.post("/v1/tokens", {"name": name, "permissions": ["signals:read"]})
    await opened(tab)
    await tab.open(f"/console#token={token['token']}")
    await button(tab.page, "Use the link's token").click()
    await expect(tab.page.get_by_text(name)).to_be_visible()
    await expect(overview(tab)).to_be_visible()
    assert "sb_" not in tab.page.url


async def test_a_link_signs_in_where_the_console_asks_who_it_is(tab):
    await tab.open("/console")
    await expect(button(tab.page, "Sign in")).to_be_visible()
    await tab.open(f"/console#token={ADMIN_TOKEN}")
    await expect(overview(tab)).to_be_visible()
    assert "sb_" not in tab.page.url


async def test_a_link_leads_to_the_overview(tab):
    await tab.open(f"/console#token={ADMIN_TOKEN}")
    await expect(overview(tab)).to_be_visible()


async def test_an_address_that_cannot_be_read_is_no_page(tab):
    await opened(tab, "%")
    await expect(tab.page.get_by_role("heading", name="There is no such page")).to_be_visible()
