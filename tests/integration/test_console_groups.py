"""What the console acts on and follows in a real browser is what it shows."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.integration.test_console_in_browser import button, opened
from tests.support.eventually import eventually
from tests.support.leasing import Puller
from tests.support.receiver import Answer
from tests.support.throwing import FAR, delivery, recorded, subscribe, throw

pytestmark = pytest.mark.slow


@pytest.fixture
async def died(client, webhooks, name):
    """Return a subscription, and the ids of its deliveries that died of a 500 and of a 501."""
    url = webhooks.answer(f"/{name}", Answer(status=500), Answer(status=501), Answer())
    subscription = await subscribe(client, name, url, retry={"schedule": []})
    ids = []
    for _ in range(2):
        signal = await throw(client, name)
        ids.append((await delivery(client, signal, subscription, "dead"))["id"])
    return subscription, ids


def group(page, subscription, status):
    link = page.get_by_role("link", name=str(subscription["id"]), exact=True)
    return page.get_by_role("row").filter(has=link).filter(has_text=f"HTTP {status}")


async def test_a_group_of_dead_letters_is_redriven_without_the_others(client, tab, died):
    subscription, (stays, goes) = died
    await opened(tab, "dead")
    await button(group(tab.page, subscription, 501), "Redrive").click()
    dialog = tab.page.get_by_role("dialog")
    await button(dialog, "Count").click()
    await expect(dialog.get_by_role("status")).to_have_text("1 deliveries would be attempted.")
    await button(dialog, "Redrive").click()
    await button(dialog, "Close").click()

    await expect(group(tab.page, subscription, 501)).to_be_hidden()
    await expect(group(tab.page, subscription, 500)).to_be_visible()
    await delivery(client, {"id": goes.split("-")[0]}, subscription, "delivered")
    assert (await client.get(f"/v1/deliveries/{stays}"))["state"] == "dead"


async def test_a_group_of_dead_letters_is_cancelled_without_the_others(client, tab, died):
    subscription, (stays, goes) = died
    await opened(tab, "dead")
    await button(group(tab.page, subscription, 501), "Cancel deliveries").click()
    dialog = tab.page.get_by_role("dialog")
    await expect(dialog.get_by_label("At most so many per second")).to_be_hidden()
    await button(dialog, "Count").click()
    await expect(dialog.get_by_role("status")).to_have_text("1 deliveries would be cancelled.")
    await button(dialog, "Cancel deliveries").click()
    await expect(dialog.get_by_role("status")).to_have_text("1 deliveries are cancelled.")
    await button(dialog, "Close").click()

    await expect(group(tab.page, subscription, 501)).to_be_hidden()
    await expect(group(tab.page, subscription, 500)).to_be_visible()
    states = [(await client.get(f"/v1/deliveries/{one}"))["state"] for one in (stays, goes)]
    assert states == ["dead", "cancelled"]


async def test_what_is_dead_of_deleted_subscriptions_is_cancelled_in_one_go(client, tab, died):
    subscription, (first, second) = died
    await client.request("DELETE", f"/v1/subscriptions/{subscription['id']}")
    await opened(tab, "dead")
    await expect(group(tab.page, subscription, 500)).to_be_visible()
    await button(tab.page, "Cancel those of deleted subscriptions").click()
    dialog = tab.page.get_by_role("dialog")
    await button(dialog, "Count").click()
    await button(dialog, "Cancel those of deleted subscriptions").click()
    await expect(dialog.get_by_role("status")).to_contain_text("deliveries are cancelled.")
    await button(dialog, "Close").click()
    await expect(group(tab.page, subscription, 500)).to_be_hidden()
    assert {(await client.get(f"/v1/deliveries/{one}"))["state"] for one in (first, second)} == {"cancelled"}


async def test_an_action_after_the_end_of_the_session_leads_to_signing_in(tab, died):
    tab.expect("status of 401")
    await opened(tab, "dead")
    await button(tab.page, "Redrive all").click()
    await tab.page.context.clear_cookies()
    await button(tab.page.get_by_role("dialog"), "Count").click()
    await expect(tab.page.get_by_text("The session has ended.")).to_be_visible()


async def test_following_says_which_filters_it_does_not_heed(client, tab, name):
    await opened(tab, f"signals?name={name}&businessKey=b-1")
    await button(tab.page, "Follow live").click()
    await expect(tab.page.get_by_text("Signals are followed by name and tenant only")).to_contain_text("Business key")
    await expect(tab.page.get_by_text("● following")).to_be_visible()
    signal = await throw(client, name)
    await recorded(client, signal["id"])
    await expect(tab.page.get_by_role("link", name=str(signal["id"]), exact=True)).to_be_visible()


async def test_the_overview_says_of_what_deliveries_died_and_which_are_parked(client, webhooks, tab, died, name):
    subscription, _ = died
    url = webhooks.answer("/waits", Answer(status=500))
    failing = await subscribe(client, f"{name}.waits", url, retry=FAR)
    signal = await throw(client, f"{name}.waits")
    late = await delivery(client, signal, failing, "parked")
    limited = {"name": name, "permissions": ["signals:read"], "names": [f"{name}.#"]}
    await tab.sign_in(token=(await client.post("/v1/tokens", limited))["token"])
    await tab.open("/console")
    reasons = tab.page.get_by_role("region", name="Dead letters by reason")
    row = reasons.get_by_role("row").filter(has_text="HTTP 501 Not Implemented")
    await expect(row).to_contain_text(str(subscription["id"]))
    oldest = tab.page.get_by_role("region", name="Subscriptions with the oldest parked deliveries")
    await expect(oldest.get_by_role("row").filter(has_text=late["id"])).to_contain_text("The last attempt failed")


async def test_what_waits_to_be_leased_is_told_with_what_is_leased(client, tab, name):
    puller = Puller(client, name)
    await puller.subscribe()
    for _ in range(3):
        await puller.throw()
    await puller.lease_one()
    await eventually(lambda: backlog_is(puller, leasable=2, leased=1))
    limited = {"name": name, "permissions": ["signals:read", "subscriptions:manage"], "names": [name]}
    await tab.sign_in(token=(await client.post("/v1/tokens", limited))["token"])
    await tab.open("/console")
    heading = tab.page.get_by_role("heading", name="Deliveries that wait to be leased")
    section = tab.page.locator("section", has=heading)
    row = section.get_by_role("row").filter(has_text=name)
    await expect(row.get_by_role("cell").nth(7)).to_have_text("2")
    await row.get_by_role("link").first.click()
    facts = tab.page.locator("dl").first
    for term, value in {"Target": "pull", "Backlog": "2", "Leased": "1"}.items():
        fact = facts.locator("div", has=tab.page.locator("dt", has_text=re.compile(f"^{term}$")))
        await expect(fact.locator("dd")).to_have_text(value)
    await expect(button(tab.page, "Test")).to_be_disabled()
    await expect(button(tab.page, "Test")).to_have_attribute("title", re.compile("A pull target calls nobody"))


@pytest.mark.parametrize("width", [1280, 390])
async def test_lists_tell_subscriptions_with_the_same_name_apart_by_their_descriptions(client, window, name, width):
    long = "billing/archive: " + "for the accountants, " * 30
    subscriptions = {}
    for description in ("billing/book", long, None):
        puller = Puller(client, name)
        await puller.subscribe(description=description)
        subscriptions[puller.subscription_id] = description
    tab = await opened(await window.tab(width=width, height=844), f"subscriptions?name={name}")
    rows, heights = tab.page.get_by_role("region", name="Subscriptions").get_by_role("row"), {}
    for subscription_id, description in subscriptions.items():
        row = rows.filter(has=tab.page.get_by_role("link", name=str(subscription_id), exact=True))
        await expect(row.get_by_role("cell").nth(1)).to_have_text(f"{name}{(description or '').rstrip()}")
        heights[description] = (await row.bounding_box())["height"]
    assert heights[long] < heights["billing/book"] + 40, "a long one is cut"
    region = await tab.page.get_by_role("region", name="Subscriptions").evaluate("one => one.scrollWidth")
    assert region <= width, "nothing is beyond the right edge"
    assert await tab.page.evaluate("document.documentElement.scrollWidth") <= width


async def test_an_attempt_by_a_lease_offers_no_request_and_no_response(client, tab, name):
    puller = Puller(client, name)
    await puller.subscribe(retry={"schedule": []})
    await puller.throw()
    leased = await puller.lease_one(worker="packer-1")
    assert await puller.settle("fail", leased, error="no such parcel") == [None]
    await opened(tab, f"deliveries/{leased['deliveryId']}")
    attempt = tab.page.get_by_role("listitem").filter(has_text="by packer-1")
    await expect(attempt).to_contain_text("no such parcel")
    await expect(attempt.get_by_text("Request and response")).to_have_count(0)


async def backlog_is(puller, **expected):
    backlog = (await puller.client.get(puller.path))["backlog"]
    return expected.items() <= backlog.items()
