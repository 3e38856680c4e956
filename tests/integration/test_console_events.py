"""Events in the console, in a real browser: what happened, to which subscription, and what is known of it."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from broker.events import EventType
from tests.integration.test_console_in_browser import opened
from tests.support.eventually import eventually
from tests.support.receiver import Answer
from tests.support.remote import token_of
from tests.support.throwing import fresh_id, subscribe, throw

pytestmark = pytest.mark.slow


@pytest.fixture
def happen(client):
    """Call it with the filters of `GET /v1/events` to return such an event, once there is one."""

    async def happen(**filters):
        query = "&".join(f"{name}={value}" for name, value in filters.items())

        async def find():
            return (await client.get(f"/v1/events?{query}"))["items"]

        return (await eventually(find))[0]

    return happen


@pytest.fixture
async def refusing(client, webhooks, name, happen):
    """Return a subscription of which a delivery is dead, and the delivery's id."""
    url = webhooks.answer(f"/{name}", Answer(status=400))
    subscription = await subscribe(client, name, url, retry={"schedule": []})
    signal = await throw(client, name)
    await happen(subscriptionId=subscription["id"], type="$broker.delivery.dead")
    return subscription, f"{signal['id']}-{subscription['id']}"


@pytest.fixture
async def gone(client, webhooks, name, happen):
    """Return a subscription that was disabled because its target answered 410."""
    subscription = await subscribe(client, f"{name}.gone", webhooks.answer("/gone", Answer(status=410)))
    await throw(client, f"{name}.gone")
    await happen(subscriptionId=subscription["id"], type="$broker.subscription.disabled")
    return subscription


def row(page, subscription, what):
    link = page.get_by_role("link", name=str(subscription["id"]), exact=True)
    return page.get_by_role("region", name="Events").get_by_role("row").filter(has=link).filter(has_text=what)


async def test_a_dead_delivery_is_told_of_and_leads_to_where_it_is_understood(tab, refusing, name):
    subscription, delivery = refusing
    await opened(tab)
    await tab.page.get_by_role("link", name="Events", exact=True).click()
    found = row(tab.page, subscription, "delivery dead")
    for text in (name, delivery, "after 1 attempt: the last attempt failed: HTTP 400 Bad Request"):
        await expect(found).to_contain_text(text)
    await found.get_by_role("link", name=delivery).click()
    await expect(tab.page.get_by_role("heading", name=f"Delivery {delivery}")).to_be_visible()


async def test_events_are_found_by_filters_that_are_in_the_address(tab, refusing, gone):
    refused, _ = refusing
    await opened(tab, "events")
    await expect(row(tab.page, refused, "delivery dead")).to_be_visible()
    await tab.page.get_by_label("Type").select_option("$broker.subscription.disabled")
    await tab.page.get_by_role("button", name="Search").click()

    await expect(row(tab.page, gone, "subscription disabled")).to_contain_text("the target answered 410")
    await expect(row(tab.page, refused, "delivery dead")).to_be_hidden()
    assert "type=%24broker.subscription.disabled" in tab.page.url
    await tab.page.get_by_label("Subscription", exact=True).fill(str(refused["id"]))
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.get_by_text("No event matches.")).to_be_visible()
    await tab.page.go_back()
    await expect(row(tab.page, gone, "subscription disabled")).to_be_visible()


async def test_all_types_of_events_can_be_chosen(tab):
    await opened(tab, "events")
    options = await tab.page.get_by_label("Type").get_by_role("option").all_inner_texts()
    assert options == ["any", *(kind.value for kind in EventType)]


async def test_a_quota_is_told_of_without_a_subscription(client, tab, happen, name):
    tenant = fresh_id("tenant")
    limited = client.caller(await token_of(client, "signals:throw", tenants=[tenant]))
    await client.request("PUT", f"/v1/quotas/tenants/{tenant}", json={"payloadBytesPerDay": 0})

    async def is_refused():
        return (await limited.request("POST", "/v1/signals", json={"name": name}))[0] == 429

    await eventually(is_refused)
    event = await happen(type="$broker.quota.reached")
    await opened(tab, "events?type=%24broker.quota.reached")
    found = tab.page.get_by_role("row").filter(has_text=f"payloadBytesPerDay of tenant {event['details']['id']}")
    await expect(found.first).to_contain_text("quota reached")


async def test_the_overview_and_the_subscription_show_the_newest_events(tab, refusing):
    subscription, _ = refusing
    await opened(tab)
    await expect(row(tab.page, subscription, "delivery dead")).to_be_visible()
    await tab.open(f"/console#/subscriptions/{subscription['id']}")
    await expect(row(tab.page, subscription, "delivery dead")).to_be_visible()


async def test_those_see_events_who_may_read_their_signals(client, tab, refusing, name):
    """The limit names events and other signals: the rest of the overview is about these."""
    subscription, _ = refusing
    await tab.sign_in(token=await token_of(client, "signals:read", names=[f"{name}.#"]))
    await tab.open("/console#/events")
    await expect(tab.page.get_by_text("No event matches.")).to_be_visible()
    await tab.open("/console#/overview")
    await expect(tab.page.get_by_text("No event that you may see.")).to_be_visible()
    await tab.open(f"/console#/subscriptions/{subscription['id']}")
    await expect(tab.page.get_by_text("No event about it that you may see.")).to_be_visible()
    await tab.sign_in(token=await token_of(client, "signals:read", names=["#", "$broker.#"]))
    await tab.open("/docs")
    await tab.open("/console#/events")
    await expect(row(tab.page, subscription, "delivery dead")).to_be_visible()


async def test_who_may_not_read_signals_is_told_so(client, tab):
    tab.expect("status of 403")
    await tab.sign_in(token=await token_of(client, "signals:throw"))
    await tab.open("/console#/events")
    await expect(tab.page.get_by_role("alert")).to_contain_text("You may not see this")
