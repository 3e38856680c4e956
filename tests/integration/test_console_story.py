"""Three in the morning: a customer did not get a webhook. The person on call has a browser and a token."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager

import pytest
from playwright.async_api import expect

from tests.support.eventually import eventually
from tests.support.receiver import Answer
from tests.support.remote import token_of
from tests.support.throwing import fresh_id, recorded, subscribe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SECONDS = 60
"""How long all steps of the story may take together, without the person's own time."""
OTHERS = 300
"""How many signals of another customer are around."""


class Story:
    """The steps that were taken, with the seconds that the browser and the product needed for each."""

    def __init__(self):
        self.steps = []

    @contextmanager
    def step(self, words):
        """Time what is done in the block."""
        began = time.monotonic()
        yield
        self.steps.append((words, time.monotonic() - began))

    @property
    def seconds(self):
        return sum(seconds for _, seconds in self.steps)

    def __str__(self):
        lines = [*self.steps, ("all steps", self.seconds)]
        return "\n".join(f"{seconds:6.2f} s  {words}" for words, seconds in lines)


@pytest.fixture
async def night(client, webhooks, name):
    """Make it: a receiver has moved, so five deliveries are dead; those of another customer are delivered.

    Return the subscription, the ids of its signals by the order's number, and where the receiver is now.
    """
    old = webhooks.answer("/old", Answer(status=404, body=b'{"hint": "moved to /new"}'))
    new = webhooks.answer("/new", Answer(status=204))
    mine, theirs = fresh_id("tenant"), fresh_id("tenant")
    subscription = await subscribe(client, f"{name}.#", old, tenantId=mine, retry={"schedule": []})
    await subscribe(client, f"{name}.#", webhooks.url("/theirs"), tenantId=theirs)
    orders = [{"tenantId": mine, "payload": {"order": {"id": f"A-{number}"}}} for number in range(90, 95)]
    others = [{"tenantId": theirs, "payload": {"order": {"id": f"B-{number}"}}} for number in range(OTHERS)]
    signals = [{"name": f"{name}.shipped", **one} for one in (*orders, *others)]
    answers = (await client.post("/v1/signals/batch", {"signals": signals}))["results"]
    await recorded(client, answers[-1]["id"])

    async def dead():
        found = await client.get(f"/v1/deliveries?subscriptionId={subscription['id']}&state=dead")
        return len(found["items"]) == len(orders)

    await eventually(dead)
    numbers = [order["payload"]["order"]["id"] for order in orders]
    return subscription, dict(zip(numbers, (answer["id"] for answer in answers), strict=False)), new


def button(place, name):
    return place.get_by_role("button", name=name, exact=True)


def link(place, name):
    return place.get_by_role("link", name=str(name), exact=True)


def ids_at(webhooks, path):
    return [request.headers["webhook-id"] for request in webhooks.requests if request.path == path]


async def find(tab, story, token, signal):
    """Sign in, and go to the signal of order A-92."""
    page = tab.page
    with story.step("open the console and sign in"):
        await tab.open("/console#/signals")
        await page.get_by_label("API token").fill(token)
        await page.keyboard.press("Enter")
        await expect(button(page, "Follow live")).to_be_visible()
    with story.step("find the signal of order A-92 by its payload"):
        await page.get_by_label("Payload (order.id=7)").fill("order.id=A-92")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("region", name="Signals").get_by_role("row")).to_have_count(2)
        await link(page, signal).click()


async def understand(page, story, delivery, url):
    """See what became of it, and why."""
    with story.step("see that its delivery is dead, and open it"):
        row = page.get_by_role("region", name="Deliveries").get_by_role("row").filter(has=link(page, delivery))
        await expect(row).to_contain_text("dead")
        await expect(row).to_contain_text("404: HTTP 404 Not Found")
        await link(page, delivery).click()
    with story.step("see why: where it was sent, and what came back"):
        await expect(page.get_by_text("HTTP 404 Not Found", exact=True)).to_be_visible()
        await expect(page.get_by_label("Response body")).to_contain_text("moved to /new")
        await expect(page.get_by_text(url).first).to_be_visible()


async def mend(page, story, subscription, url):
    """Give the subscription the right URL."""
    dialog = page.get_by_role("dialog")
    with story.step("change the URL of the subscription"):
        await link(page, subscription["id"]).click()
        await button(page, "Change URL").click()
        await expect(dialog.get_by_label("URL")).to_have_value(subscription["target"]["url"])
        await dialog.get_by_label("URL").fill(url)
        await button(dialog, "Change URL").click()
        await expect(page.get_by_text(f"webhook {url}")).to_be_visible()
    with story.step("try the new URL before anything real is sent"):
        await button(page, "Test").click()
        await button(dialog, "Test").click()
        await expect(dialog.get_by_role("status")).to_contain_text("succeeded 204")
        await button(dialog, "Close").click()


async def send_again(page, story, subscription, delivery):
    """Redrive the delivery, and then what else is dead."""
    dialog = page.get_by_role("dialog")
    with story.step("redrive the delivery, and see it delivered"):
        await link(page.get_by_role("region", name="Deliveries"), delivery).click()
        await button(page, "Redrive").click()
        await button(dialog, "Redrive").click()
        await expect(page.get_by_text("delivered", exact=True)).to_be_visible()
        await expect(page.get_by_text("succeeded", exact=True)).to_be_visible()
    with story.step("redrive what else is dead of the subscription"):
        await link(page, subscription["id"]).click()
        await button(page, "Redrive dead").click()
        await button(dialog, "Count").click()
        await expect(dialog.get_by_role("status")).to_have_text("4 deliveries would be attempted.")
        await button(dialog, "Redrive dead").click()
        await expect(dialog.get_by_role("status")).to_have_text("4 deliveries go out.")
        await button(dialog, "Close").click()
        await expect(page.get_by_text("None is dead.")).to_be_visible()


async def test_a_customer_did_not_get_a_webhook(client, tab, night, webhooks, capsys):
    subscription, signals, url = night
    delivery = f"{signals['A-92']}-{subscription['id']}"
    token = await token_of(client, "signals:read", "subscriptions:manage", "deliveries:manage")
    story = Story()
    await find(tab, story, token, signals["A-92"])
    await understand(tab.page, story, delivery, webhooks.url("/old"))
    await mend(tab.page, story, subscription, url)
    await send_again(tab.page, story, subscription, delivery)

    sent = {f"{one}-{subscription['id']}" for one in signals.values()}
    await eventually(lambda: sent <= set(ids_at(webhooks, "/new")))
    assert ids_at(webhooks, "/new")[1] == delivery, "after the sample, the one that the customer asked for"
    with capsys.disabled():
        sys.stdout.write(f"\n{story}\n")
    assert story.seconds < SECONDS
