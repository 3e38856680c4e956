"""The console explains in a real browser who would get a signal, however many subscriptions there are."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.integration.test_console_in_browser import button, opened
from tests.support.eventually import eventually
from tests.support.throwing import recorded, subscribe, throw

pytestmark = pytest.mark.slow


async def test_who_would_get_a_signal_is_explained(tab, client, name):
    subscription = await subscribe(client, name, filter={"total": {"operator": "NUM_GT", "value": 100}})
    signal = await throw(client, name, payload={"total": 7})
    await recorded(client, signal["id"])
    page = tab.page
    await opened(tab, f"signals/{signal['id']}")
    await expect(page.get_by_text("No subscription matched: there are no deliveries.")).to_be_visible()
    await button(page, "Explain").click()
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=str(subscription["id"]), exact=True))
    further = button(page, "Explain further ones")

    async def found():
        if await further.is_visible():
            await further.click()
        return await row.count()

    await eventually(found)
    await expect(row).to_contain_text("no")
    await expect(row).to_contain_text("total: 7 is not NUM_GT 100")


async def test_an_explanation_goes_on_after_its_first_page(tab, client, name):
    first, second = [await subscribe(client, name, filter={"n": {"operator": "NUM_GT", "value": n}}) for n in (1, 2)]
    signal = await throw(client, name, payload={"n": 0})
    await recorded(client, signal["id"])
    page = tab.page

    async def shorten(route):
        begins = "" if "afterId" in route.request.url else f"&afterId={first['id'] - 1}"
        await route.continue_(url=route.request.url.replace("limit=200", "limit=1") + begins)

    await page.route("**/v1/signals/explain?*", shorten)
    await opened(tab, f"signals/{signal['id']}")
    await button(page, "Explain").click()
    rows = page.get_by_role("region", name="Explanations").get_by_role("row")
    await expect(rows.last).to_contain_text("n: 0 is not NUM_GT 1")
    await expect(page.get_by_text("The first 1 subscriptions.")).to_be_visible()
    await button(page, "Explain further ones").click()
    await expect(rows.last).to_contain_text("n: 0 is not NUM_GT 2")
    assert await rows.count() == 3, "the head, and both"
    await expect(page.get_by_role("link", name=str(second["id"]), exact=True)).to_be_visible()
