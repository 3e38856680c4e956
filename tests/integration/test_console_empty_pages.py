"""The console goes on where a page of a list holds nothing and there are more."""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.async_api import Page, Route, expect

from tests.integration.test_console_in_browser import opened
from tests.support.eventually import eventually
from tests.support.leasing import Puller
from tests.support.receiver import Answer
from tests.support.throwing import delivery, subscribe, throw

pytestmark = pytest.mark.slow

LISTS = ("signals", "deliveries", "subscriptions", "events")
UNSEEN = "None among those looked at so far; there may be more."


async def found_late(page: Page, *, after: int) -> None:
    """Let the first *after* pages of each list hold nothing; then comes what the server has."""

    async def answer(route: Route) -> None:
        url = urlsplit(route.request.url)
        asked = {key: values[0] for key, values in parse_qs(url.query).items()}
        number = int(asked.pop("afterId", "0"))
        if number < after:
            await route.fulfill(json={"items": [], "next": str(number + 1)})
        else:
            await route.continue_(url=url._replace(query=urlencode(asked)).geturl())

    for one in LISTS:
        await page.route(f"**/v1/{one}?*", answer)


@pytest.fixture
async def dead(client, webhooks, name):
    """Return a subscription, and its delivery that died."""
    url = webhooks.answer(f"/{name}", Answer(status=500))
    subscription = await subscribe(client, name, url, retry={"schedule": []})
    signal = await throw(client, name)
    return subscription, (await delivery(client, signal, subscription, "dead"))["id"]


async def test_lists_go_on_until_they_have_something(client, tab, dead, name):
    subscription, died = dead
    await found_late(tab.page, after=3)
    await opened(tab, f"signals?name={name}")
    await expect(tab.page.get_by_role("row").filter(has_text=name)).to_be_visible()
    await tab.open(f"/console#/deliveries?name={name}")
    await expect(tab.page.get_by_role("link", name=died)).to_be_visible()
    await tab.open(f"/console#/subscriptions?name={name}")
    await expect(tab.page.get_by_role("row").filter(has_text=name)).to_be_visible()
    await tab.open(f"/console#/events?subscriptionId={subscription['id']}")
    await expect(tab.page.get_by_role("row").filter(has_text="delivery dead")).to_be_visible()
    await tab.open(f"/console#/subscriptions/{subscription['id']}")
    await expect(tab.page.get_by_role("link", name=died).first).to_be_visible()


async def test_the_overview_goes_on_until_it_has_something(client, tab, name):
    puller = Puller(client, name)
    await puller.subscribe()
    await puller.throw()
    await eventually(lambda: waits(puller))
    await client.post(f"{puller.path}/pause", {})
    limited = {"name": name, "permissions": ["signals:read", "subscriptions:manage"], "names": [name]}
    await tab.sign_in(token=(await client.post("/v1/tokens", limited))["token"])
    await found_late(tab.page, after=3)
    await tab.open("/console")
    for heading in ("Deliveries that wait to be leased", "Paused subscriptions"):
        section = tab.page.locator("section", has=tab.page.get_by_role("heading", name=heading))
        await expect(section.get_by_role("link", name=str(puller.subscription_id))).to_be_visible()


async def test_dead_letters_are_read_to_the_end_however_few_a_page_holds(tab, dead):
    subscription, _ = dead
    await found_late(tab.page, after=12)
    await opened(tab, "dead")
    link = tab.page.get_by_role("link", name=str(subscription["id"]), exact=True)
    await expect(tab.page.get_by_role("row").filter(has=link)).to_be_visible()


async def test_what_nothing_was_found_of_yet_is_not_said_to_be_nothing(tab, name):
    await found_late(tab.page, after=1_000_000)
    await opened(tab, f"subscriptions?name={name}")
    await expect(tab.page.get_by_text(UNSEEN)).to_be_visible()
    further = await tab.page.get_by_role("link", name="Further subscriptions").get_attribute("href")
    assert int(further.split("afterId=")[1]) > 1
    await tab.open("/console#/overview")
    await expect(tab.page.get_by_text(UNSEEN)).to_have_count(8)
    await expect(tab.page.get_by_role("link", name="All that are leasable")).to_be_visible()


async def waits(puller):
    return (await puller.client.get(puller.path))["backlog"]["leasable"] == 1
