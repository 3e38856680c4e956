"""What dialogs of the console do: once, to what they show, and no longer than they are open."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from playwright.async_api import expect

from tests.integration.test_console_in_browser import button, opened
from tests.support.eventually import eventually
from tests.support.throwing import subscribe, throw

pytestmark = pytest.mark.slow

BIG = '{"id":12345678901234567890,"share":1.0,"a":1,"a":2}'


class Redrives:
    """Takes the place of the server for bulk redrives of *tab*, three pages long, and keeps what it was asked."""

    def __init__(self, tab):
        self.tab = tab
        self.asked = []
        self.open = asyncio.Event()
        self.open.set()
        self.broken = False

    async def __aenter__(self):
        await self.tab.page.route("**/v1/deliveries/redrive", self.answer)
        return self

    async def __aexit__(self, *_):
        self.open.set()

    async def answer(self, route):
        wanted = json.loads(route.request.post_data)
        self.asked.append(wanted)
        await self.open.wait()
        if self.broken:
            self.broken = False
            problem = json.dumps({"title": "Service Unavailable", "detail": "The broker cannot take this now."})
            await route.fulfill(status=503, body=problem, content_type="application/problem+json")
            return
        page = int(wanted.get("after", "0-1")[0]) + 1
        await route.fulfill(json={"count": 1000, "next": None if page == 3 else f"{page}-1"})

    @property
    def made(self):
        """Where each request that redrove something went on."""
        return [wanted.get("after") for wanted in self.asked if not wanted["dryRun"]]


@pytest.fixture
async def redrives(tab):
    await opened(tab, "dead")
    async with Redrives(tab) as redrives:
        await button(tab.page, "Redrive all").click()
        yield redrives


def dialog_of(tab):
    return tab.page.get_by_role("dialog")


async def test_a_second_click_does_not_close_a_dialog_that_shows_a_secret_once(client, tab, webhooks, name):
    one = await subscribe(client, name, webhooks.url("/hook"))
    await opened(tab, f"subscriptions/{one['id']}")
    await button(tab.page, "Rotate secret").click()
    await button(dialog_of(tab), "Rotate secret").dblclick()
    shown = dialog_of(tab).get_by_label("Signing secret")
    await expect(shown).to_contain_text("whsec_")
    await button(dialog_of(tab), "Rotate secret").click(force=True)
    await expect(shown).to_contain_text("whsec_")
    await button(dialog_of(tab), "Close").click()
    await expect(dialog_of(tab)).to_be_hidden()


async def test_the_secret_before_does_not_end_at_once_because_a_field_is_empty(client, tab, webhooks, name):
    one = await subscribe(client, name, webhooks.url("/hook"))
    await opened(tab, f"subscriptions/{one['id']}")
    await button(tab.page, "Rotate secret").click()
    field = dialog_of(tab).get_by_label("For so many seconds")
    await field.fill("")
    await button(dialog_of(tab), "Rotate secret").click()
    assert await field.evaluate("field => field.validity.valueMissing")
    await expect(dialog_of(tab).get_by_label("Signing secret")).to_be_hidden()


async def test_editing_changes_only_what_was_edited(client, tab, webhooks, name):
    one = await subscribe(client, name, webhooks.url("/hook"), maxInFlight=5, description="old")
    path = f"/v1/subscriptions/{one['id']}"
    await opened(tab, f"subscriptions/{one['id']}")
    await button(tab.page, "Edit").click()
    field = dialog_of(tab).get_by_label("Changes (JSON)")
    await field.fill((await field.input_value()).replace('"old"', '"new"'))
    await client.request("PATCH", path, json={"maxInFlight": 77})
    await button(dialog_of(tab), "Edit").click()
    await expect(dialog_of(tab)).to_be_hidden()
    found = await client.get(path)
    assert (found["description"], found["maxInFlight"]) == ("new", 77)

    await client.request("PATCH", path, json={"description": "newer"})
    await expect(tab.page.get_by_text("newer", exact=True)).to_be_visible()
    await button(tab.page, "Edit").click()
    await expect(field).to_have_value(re.compile("newer"))


async def test_a_payload_is_sent_as_it_was_written(client, tab, webhooks, name):
    one = await subscribe(client, name, webhooks.url("/hook"))
    await opened(tab, f"subscriptions/{one['id']}")
    await button(tab.page, "Test").click()
    await dialog_of(tab).get_by_label("Payload (JSON)").fill(BIG)
    async with tab.page.expect_request("**/test") as sent:
        await button(dialog_of(tab), "Test").click()
    assert (await sent.value).post_data == f'{{"payload":{BIG}}}'
    await expect(dialog_of(tab).get_by_label("Request headers")).to_be_visible()


async def test_what_is_counted_is_made_page_by_page(tab, redrives):
    action = button(dialog_of(tab), "Redrive all")
    await expect(action).to_be_disabled()
    await button(dialog_of(tab), "Count").dblclick()
    await expect(dialog_of(tab).get_by_role("status")).to_have_text("3,000 deliveries would be attempted.")
    assert redrives.made == []
    await action.click()
    await expect(dialog_of(tab).get_by_role("status")).to_have_text("3,000 deliveries go out.")
    assert redrives.made == [None, "1-1", "2-1"]


async def test_a_bulk_redrive_ends_with_its_dialog_and_is_not_revived(tab, redrives):
    await button(dialog_of(tab), "Count").click()
    await expect(button(dialog_of(tab), "Redrive all")).to_be_enabled()
    redrives.open.clear()
    await button(dialog_of(tab), "Redrive all").click()
    await eventually(lambda: redrives.made)
    await tab.page.keyboard.press("Escape")
    await button(tab.page, "Redrive all").click()
    await button(dialog_of(tab), "Count").click()
    redrives.open.set()
    await expect(dialog_of(tab).get_by_role("status")).to_have_text("3,000 deliveries would be attempted.")
    assert redrives.made == [None]


async def test_a_count_for_other_filters_counts_no_more(tab, redrives):
    redrives.open.clear()
    await button(dialog_of(tab), "Count").click()
    await eventually(lambda: redrives.asked)
    await dialog_of(tab).get_by_label("At most so many per second").fill("5")
    redrives.open.set()
    await button(dialog_of(tab), "Count").click()
    await expect(dialog_of(tab).get_by_role("status")).to_have_text("3,000 deliveries would be attempted.")
    assert [wanted.get("perSecond") for wanted in redrives.asked] == [None, 5, 5, 5]


async def test_a_bulk_redrive_that_was_refused_on_the_way_goes_on_where_it_was(tab, redrives):
    tab.expect("status of 503")
    await button(dialog_of(tab), "Count").click()
    await expect(button(dialog_of(tab), "Redrive all")).to_be_enabled()
    redrives.open.clear()
    await button(dialog_of(tab), "Redrive all").click()
    await eventually(lambda: redrives.made)
    await button(dialog_of(tab), "Stop").click()
    redrives.open.set()
    await expect(dialog_of(tab).get_by_role("status")).to_have_text(
        "1,000 deliveries go out; what is left is not done yet."
    )
    redrives.broken = True
    await button(dialog_of(tab), "Go on").click()
    await expect(dialog_of(tab).get_by_role("alert")).to_contain_text("The broker cannot take this now.")
    await expect(dialog_of(tab).get_by_role("status")).to_contain_text("1,000 deliveries go out;")
    await button(dialog_of(tab), "Go on").click()
    await expect(dialog_of(tab).get_by_role("status")).to_have_text("3,000 deliveries go out.")
    assert redrives.made == [None, "1-1", "1-1", "2-1"]


async def test_a_dialog_stays_what_it_was_when_the_page_changes(client, tab, webhooks, name):
    one = await subscribe(client, name, webhooks.url("/hook"))
    await opened(tab, f"subscriptions/{one['id']}")
    await button(tab.page, "Pause").click()
    await client.post(f"/v1/subscriptions/{one['id']}/pause", {}, expect=200)
    await expect(tab.page.get_by_text("paused", exact=True)).to_be_visible()
    await button(dialog_of(tab), "Pause").click()
    await expect(dialog_of(tab)).to_be_hidden()
    assert (await client.get(f"/v1/subscriptions/{one['id']}"))["state"] == "paused"


async def test_a_payload_filter_has_a_path_and_a_value(tab):
    await opened(tab, "signals?payload=i")
    await expect(tab.page.get_by_role("alert")).to_have_text("Payload: a path and its value, as in order.id=7.")
    async with tab.page.expect_request("**/v1/signals?*") as sent:
        await tab.open("/console#/signals?payload=i%3D")
    assert "payload.i=&" in (await sent.value).url


async def test_explaining_asks_for_the_scope_that_the_signal_had(client, tab, webhooks, name):
    await subscribe(client, name, webhooks.url("/hook"), tenantId="acme")
    signal = await throw(client, name, withoutTenantId=True)
    await opened(tab, f"signals/{signal['id']}")
    await button(tab.page, "Explain").click()
    table = tab.page.get_by_role("region", name="Explanations")
    await expect(table.get_by_text("yes", exact=True)).to_be_hidden()
    await expect(table.get_by_text("no", exact=True).first).to_be_visible()


@pytest.mark.parametrize("page", ["constructor", "__proto__/1", "deliveries/..%2Fledger", "signals/x", "dead/1"])
async def test_what_is_no_page_is_said_to_be_none(tab, page):
    await opened(tab)
    await tab.open(f"/console#/{page}")
    await expect(tab.page.get_by_role("heading", level=1)).to_have_text("There is no such page")


async def test_all_tabs_are_signed_in_as_the_same(client, tab, name):
    made = await client.post("/v1/tokens", {"name": name, "permissions": ["signals:read"]})
    await opened(tab)
    other = await tab.page.context.new_page()
    await other.goto(f"{tab.url}/console")
    await button(other, "Sign out").click()
    await expect(tab.page.get_by_label("API token")).to_be_visible()
    await other.get_by_label("API token").fill(made["token"])
    await button(other, "Sign in").click()
    await expect(tab.page.get_by_text(name)).to_be_visible()
    await other.close()
