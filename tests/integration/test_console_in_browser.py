"""``/console`` in a real browser."""

from __future__ import annotations

import json
import re

import pytest
from playwright.async_api import expect

from tests.support.browser import opened_window
from tests.support.eventually import eventually
from tests.support.product import ADMIN_TOKEN
from tests.support.receiver import Answer
from tests.support.remote import token_of
from tests.support.throwing import recorded, recorded_ids, subscribe, throw

pytestmark = pytest.mark.slow

TOKEN_FIELD, USER_FIELD, PASSWORD_FIELD = "API token", "User", "Password"
PAGES = ("overview", "signals", "deliveries", "subscriptions", "dead", "events")


@pytest.fixture
async def console(tab):
    """Return a tab that is signed in, on the overview."""
    return await opened(tab)


async def opened(tab, page="overview"):
    await tab.sign_in(token=ADMIN_TOKEN)
    await tab.open(f"/console#/{page}")
    await expect(tab.page.get_by_role("button", name="Sign out")).to_be_visible()
    return tab


@pytest.fixture
async def dead(client, webhooks, name):
    """Return a subscription whose receiver has refused, and the delivery that died of it."""
    url = webhooks.answer(f"/{name}", Answer(status=500), Answer(status=200))
    subscription = await subscribe(client, name, url, retry={"schedule": []})
    signal = await throw(client, name, payload={"order": {"id": 7, "note": "<b>bold</b>"}})
    delivery = f"{signal['id']}-{subscription['id']}"

    async def died():
        status, _, found = await client.request("GET", f"/v1/deliveries/{delivery}")
        return status == 200 and found["state"] == "dead"

    await eventually(died)
    return subscription, signal, delivery


def button(place, name):
    return place.get_by_role("button", name=name, exact=True)


async def carry_out(page, name):
    """Open the dialog of that name, and confirm it."""
    await button(page, name).click()
    await button(page.get_by_role("dialog"), name).click()


async def test_one_signs_in_with_a_token_and_out_again(tab):
    await tab.open("/console#/signals")
    await tab.page.get_by_label(TOKEN_FIELD).fill("sb_wrong")
    await button(tab.page, "Sign in").click()
    await expect(tab.page.get_by_role("alert")).to_have_text("These credentials are not valid.")

    await tab.page.get_by_label(TOKEN_FIELD).fill(ADMIN_TOKEN)
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.get_by_role("heading", name="Signals", level=1)).to_be_visible()
    await tab.page.reload()
    await expect(tab.page.get_by_role("heading", name="Signals", level=1)).to_be_visible()

    await button(tab.page, "Sign out").click()
    await expect(tab.page.get_by_label(TOKEN_FIELD)).to_be_visible()
    await tab.page.reload()
    await expect(tab.page.get_by_label(TOKEN_FIELD)).to_be_visible()


async def test_a_user_who_may_only_look_signs_in_with_a_password(client, tab, dead, name):
    await client.post("/v1/users", {"name": name, "password": "correct horse 1", "permissions": ["signals:read"]})
    _, _, delivery = dead
    await tab.open(f"/console#/deliveries/{delivery}")
    await tab.page.get_by_label(USER_FIELD, exact=True).fill(name)
    await tab.page.get_by_label(PASSWORD_FIELD).fill("correct horse 1")
    await tab.page.keyboard.press("Enter")

    await expect(button(tab.page, "Redrive")).to_be_disabled()
    await expect(button(tab.page, "Redrive")).to_have_attribute("title", "Needs the permission deliveries:manage.")
    await expect(tab.page.get_by_text("dead", exact=True)).to_be_visible()


async def test_a_link_signs_in_and_takes_no_session_over_unasked(client, tab, name):
    token = await client.post("/v1/tokens", {"name": name, "permissions": ["signals:read"]})
    await tab.open(f"/console#token={token['token']}")
    await expect(tab.page.get_by_text(name)).to_be_visible()
    assert "sb_" not in tab.page.url

    await tab.open("/docs")
    await tab.open(f"/console#token={ADMIN_TOKEN}")
    await button(tab.page, "Stay signed in").click()
    await expect(tab.page.get_by_text(name)).to_be_visible()
    await tab.open("/docs")
    await tab.open(f"/console#token={ADMIN_TOKEN}")
    await button(tab.page, "Use the link's token").click()
    await expect(tab.page.get_by_text(name)).to_be_hidden()


async def test_a_dead_delivery_is_found_understood_and_sent_again(console, dead, webhooks):
    subscription, signal, delivery = dead
    page = console.page
    await page.get_by_role("link", name="Dead letters", exact=True).click()
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=str(subscription["id"]), exact=True))
    await expect(row).to_contain_text("HTTP 500 Internal Server Error")
    await row.get_by_role("link", name="HTTP 500 Internal Server Error").click()
    await page.get_by_role("link", name=delivery).click()
    await expect(page.get_by_label("Request headers")).to_contain_text(f"webhook-id: {delivery}")
    await page.get_by_role("link", name=str(signal["id"]), exact=True).click()
    await expect(page.get_by_label("Payload")).to_contain_text("<b>bold</b>")

    await page.goto(f"{console.url}/console#/deliveries/{delivery}")
    await carry_out(page, "Redrive")
    await expect(page.get_by_text("delivered", exact=True)).to_be_visible()
    assert [request.headers["webhook-id"] for request in webhooks.requests] == [delivery] * 2


async def test_dead_letters_are_counted_and_then_redriven_together(console, dead):
    subscription, _, _ = dead
    page = console.page
    await page.goto(f"{console.url}/console#/dead")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=str(subscription["id"]), exact=True))
    await button(row, "Redrive").click()
    dialog = page.get_by_role("dialog")
    await button(dialog, "Count").click()
    await expect(dialog.get_by_role("status")).to_have_text("1 deliveries would be attempted.")
    await button(dialog, "Redrive").click()
    await expect(dialog.get_by_role("status")).to_have_text("1 deliveries go out.")
    await button(dialog, "Close").click()
    await expect(row).to_be_hidden()


async def test_a_subscription_is_made_tried_changed_paused_resumed_and_deleted(console, webhooks, name):
    page = console.page
    await page.goto(f"{console.url}/console#/subscriptions")
    await button(page, "New subscription").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Subscription (JSON)").fill("{")
    await button(dialog, "New subscription").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("This is not JSON")
    target = {"kind": "webhook", "url": webhooks.url("/made")}
    await dialog.get_by_label("Subscription (JSON)").fill(json.dumps({"name": name, "target": target}))
    await button(dialog, "New subscription").click()
    await expect(dialog.get_by_label("Signing secret")).to_contain_text("whsec_")
    made = dialog.get_by_role("status").get_by_role("link")
    subscription_id = await made.inner_text()
    await button(dialog, "Close").click()

    await page.goto(f"{console.url}/console#/subscriptions/{subscription_id}")
    await carry_out(page, "Test")
    await expect(dialog.get_by_role("status")).to_contain_text("succeeded 200")
    await button(dialog, "Close").click()
    await button(page, "Edit").click()
    await dialog.get_by_label("Changes (JSON)").fill('{"description": "made by hand"}')
    await button(dialog, "Edit").click()
    await expect(page.get_by_text("made by hand", exact=True)).to_be_visible()
    await carry_out(page, "Pause")
    await expect(page.get_by_text("paused", exact=True)).to_be_visible()
    await carry_out(page, "Resume")
    await expect(page.get_by_text("active", exact=True)).to_be_visible()
    await carry_out(page, "Delete")
    await expect(page.get_by_role("heading", name="Subscriptions", level=1)).to_be_visible()
    await expect(page.get_by_role("link", name=subscription_id, exact=True)).to_be_hidden()


async def test_signals_are_found_by_filters_that_are_in_the_address(console, client, name):
    payload = {"customer": "Ada Lovelace", "items": [{"sku": "A-6"}, {"sku": "A-7"}]}
    first = await throw(client, f"{name}.a", businessKey="b-1")
    second = await throw(client, f"{name}.b", payload=payload)
    await recorded(client, second["id"])
    page = console.page
    await page.get_by_role("link", name="Signals", exact=True).click()
    await page.get_by_label("Name or pattern").fill(f"{name}.#")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("link", name=str(second["id"]), exact=True)).to_be_visible()
    await page.get_by_label("Business key").fill("b-1")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("link", name=str(second["id"]), exact=True)).to_be_hidden()
    assert "businessKey=b-1" in page.url
    await page.reload()
    await expect(page.get_by_role("link", name=str(first["id"]), exact=True)).to_be_visible()
    await page.go_back()
    await expect(page.get_by_role("link", name=str(second["id"]), exact=True)).to_be_visible()
    await page.get_by_label("Text in payload or keys").fill("LOVELACE")
    await page.get_by_label("Payload (order.id=7)").fill("items[*].sku = A-7")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("link", name=str(first["id"]), exact=True)).to_be_hidden()
    await expect(page.get_by_role("link", name=str(second["id"]), exact=True)).to_be_visible()


async def test_signals_are_followed_and_held_back_while_paused(console, client, name):
    page = console.page
    await page.goto(f"{console.url}/console#/signals?name={name}")
    await button(page, "Follow live").click()
    await expect(page.get_by_text("● following")).to_be_visible()
    first = await throw(client, name)
    await expect(page.get_by_role("link", name=str(first["id"]), exact=True)).to_be_visible()
    await button(page, "Pause").click()
    second = await throw(client, name)
    await recorded(client, second["id"])
    await button(page, "Go on").click()
    await expect(page.get_by_role("link", name=str(second["id"]), exact=True)).to_be_visible()


async def test_what_is_typed_into_filters_stays_when_the_page_is_read_anew(console, client, name):
    signal = await throw(client, name)
    await recorded(client, signal["id"])
    page, name_field = console.page, console.page.get_by_label("Name or pattern")
    await page.goto(f"{console.url}/console#/signals")
    await expect(page.get_by_role("link", name=str(signal["id"]), exact=True)).to_be_visible()
    await name_field.fill(f"{name}.typed")
    other = await throw(client, name)
    await recorded(client, other["id"])
    await button(page, "Read again").click()
    await expect(page.get_by_role("link", name=str(other["id"]), exact=True)).to_be_visible()
    await expect(name_field).to_have_value(f"{name}.typed")
    await name_field.press("Enter")
    await expect(page.get_by_text("No signal matches.")).to_be_visible()
    await page.go_back()
    await expect(name_field).to_have_value("")


async def show(page, *, hidden):
    """Let the page believe that its tab is hidden, or seen: a browser without a window shows all of its tabs."""
    await page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", {get: () => hidden, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def is_tail(request):
    return "/v1/signals/tail" in request.url


async def test_a_hidden_tab_is_not_connected_and_shows_what_it_missed_when_it_is_seen(console, client, name):
    await recorded(client, (await throw(client, name))["id"])
    page = console.page
    await page.goto(f"{console.url}/console#/signals?name={name}")
    await button(page, "Follow live").click()
    await expect(page.get_by_text("● following")).to_be_visible()
    async with page.expect_event("requestfailed", predicate=is_tail):
        await show(page, hidden=True)
    missed = [(await throw(client, name))["id"] for _ in range(3)]
    await recorded(client, missed[-1])
    links = page.get_by_role("region", name="Signals").get_by_role("link")
    await expect(links).to_have_count(0)
    await show(page, hidden=False)
    await expect(page.get_by_text("● following")).to_be_visible()
    after = await throw(client, name)
    await expect(links).to_have_count(4)
    assert (await links.all_inner_texts())[0] == str(after["id"])
    assert sorted(await links.all_inner_texts()) == sorted(map(str, [*missed, after["id"]]))


async def test_of_very_much_that_a_hidden_tab_missed_the_newest_is_shown(console, client, name):
    page = console.page
    await page.goto(f"{console.url}/console#/signals?name={name}")
    await button(page, "Follow live").click()
    first = await throw(client, name)
    await expect(page.get_by_role("link", name=str(first["id"]), exact=True)).to_be_visible()
    await show(page, hidden=True)
    await client.post("/v1/signals/batch", {"signals": [{"name": name} for _ in range(250)]})
    await recorded_ids(client, name, 251)
    newest = [one["id"] for one in (await client.get(f"/v1/signals?name={name}&order=desc&limit=200"))["items"]]
    await show(page, hidden=False)
    await expect(page.get_by_text("More than these were recorded")).to_be_visible()
    links = page.get_by_role("region", name="Signals").get_by_role("link")

    async def newest_are_shown():
        shown = [int(text) for text in await links.all_inner_texts()]
        return shown if shown[:20] == newest[:20] else None

    missed = [one for one in await eventually(newest_are_shown) if one != first["id"]]
    assert missed == newest[: len(missed)], "as many as could be read in ten seconds, each in its place"


async def test_a_connection_that_is_lost_is_made_again_without_a_gap(product, client, window, name):
    async with product.sibling("gateway") as gateway:
        tab = await window.tab()
        tab.url = gateway.url
        tab.expect("ERR_|status of 503")
        await opened(tab, f"signals?name={name}")
        await button(tab.page, "Follow live").click()
        await expect(tab.page.get_by_text("● following")).to_be_visible()
        assert await gateway.stop() == 0
        missed = await throw(client, name)
        await recorded(client, missed["id"])
        await gateway.start()
        await expect(tab.page.get_by_role("link", name=str(missed["id"]), exact=True)).to_be_visible()


async def test_who_may_not_follow_a_name_is_told_so(client, tab, name):
    token = await token_of(client, "signals:read", names=[f"{name}.#"])
    tab.expect("status of 403|MIME type")
    await tab.sign_in(token=token)
    await tab.open("/console#/signals?name=other")
    await button(tab.page, "Follow live").click()
    await expect(tab.page.get_by_role("status").filter(has_text="ended: ")).to_be_visible()


async def test_a_signal_leads_to_deliveries_beyond_the_first_page(console, client, name):
    subscriptions = [await subscribe(client, name) for _ in range(2)]
    signal = await throw(client, name)
    await recorded(client, signal["id"])
    page = console.page
    shorten = "**/v1/signals/*/deliveries?limit=100"
    await page.route(shorten, lambda route: route.continue_(url=route.request.url.replace("limit=100", "limit=1")))
    await page.goto(f"{console.url}/console#/signals/{signal['id']}")
    await page.get_by_role("link", name="All its deliveries").click()
    for subscription in subscriptions:
        link = page.get_by_role("link", name=f"{signal['id']}-{subscription['id']}", exact=True)
        await expect(link).to_be_visible()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
async def test_every_page_is_readable_for_everybody(client, window, dead, width, scheme):
    subscription, signal, delivery = dead
    tab = await opened(await window.tab(width=width, height=844, scheme=scheme))
    pages = (*PAGES, f"signals/{signal['id']}", f"deliveries/{delivery}", f"subscriptions/{subscription['id']}")
    for page in pages:
        await tab.open(f"/console#/{page}")
        await expect(tab.page.locator("[aria-busy]")).to_have_count(0)
        found = await tab.check_accessibility()
        assert not {impact: found[impact] for impact in ("serious", "critical") if found.get(impact)}, page
        wide = await tab.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{page} is {wide} wide"


async def test_numbers_are_what_was_sent(console, client, name):
    limited = await subscribe(client, name, maxPerSecond=5)
    page = console.page
    await page.goto(f"{console.url}/console#/subscriptions/{limited['id']}")
    await expect(page.get_by_role("definition").filter(has_text=re.compile("^5$"))).to_be_visible()
    signal = await throw(client, name, payload={"a": 12345678901234567890, "b": 0.00001, "c": 7.0, "d": 1.5e300})
    await recorded(client, signal["id"])
    await page.goto(f"{console.url}/console#/signals/{signal['id']}")
    for text in ('"a": 12345678901234567890,', '"b": 0.00001,', '"c": 7,', '"d": 1.5e+300'):
        await expect(page.get_by_label("Payload")).to_contain_text(text)


async def test_moments_are_told_by_the_24_hour_clock(console, client, name):
    subscription = await subscribe(client, name)
    page = console.page
    await page.goto(f"{console.url}/console#/subscriptions/{subscription['id']}")
    created = page.get_by_role("definition").filter(has_text=re.compile(r" by admin$"))
    await expect(created.get_by_role("time")).to_have_text(re.compile(r", \d\d:\d\d:\d\d\.\d{3} UTC$"))


async def test_what_is_not_there_says_so(console):
    console.expect("status of 404")
    await console.page.goto(f"{console.url}/console#/deliveries/1-999999")
    await expect(console.page.get_by_role("alert")).to_contain_text("There is no delivery")
    await console.page.goto(f"{console.url}/console#/nothing")
    await expect(console.page.get_by_role("heading", name="There is no such page")).to_be_visible()


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("console.error('no good')", "no good"),
        ("setTimeout(() => { throw new Error('nothing catches it') })", "exception: nothing catches it"),
        ("fetch('no/such/path')", "404"),
        ("document.body.setAttribute('onclick', 'alert(1)')", "Content Security Policy"),
    ],
)
async def test_a_complaint_of_the_browser_is_a_failure_unless_it_is_expected(client, script, complaint):
    async def show(*expected):
        async with opened_window(client.url) as window:
            tab = await window.tab()
            for pattern in expected:
                tab.expect(pattern)
            await tab.open("/console")
            await tab.page.evaluate(script)
            await eventually(lambda: len(tab.complaints) > 1)

    with pytest.raises(AssertionError, match=complaint):
        await show()
    await show(complaint)


async def test_axe_finds_what_is_wrong_in_spite_of_the_policy(tab):
    await tab.open("/console")
    await tab.page.evaluate("document.body.append(document.createElement('input'))")

    found = await tab.check_accessibility()

    assert any(one.startswith("label: ") for one in found["critical"])
