"""``/docs`` in a real browser: every operation can be read, and tried with the credentials of the reader."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.support.product import ADMIN_TOKEN
from tests.support.remote import token_of

pytestmark = pytest.mark.slow


async def opened(tab, operation):
    """Return the card of *operation*, open."""
    await tab.open(f"/docs#{operation}")
    card = tab.page.locator(f"#{operation}")
    await expect(card).to_have_attribute("open", "")
    return card


async def fill_token(tab, value):
    """Give the page a token: its field is looked for in one card, as the page has some 50,000 elements."""
    card = tab.page.locator("details", has=tab.page.locator("#caller"))
    await card.get_by_text("Credentials for trying operations").click()
    await card.get_by_label("API token").fill(value)


async def sent(card):
    """Send what the card holds, and return where the answer is shown."""
    await card.get_by_role("button", name="Send").click()
    return card.get_by_role("status")


async def test_a_request_is_tried_with_a_token(client, tab, name):
    card = await opened(tab, "throwSignal")
    await fill_token(tab, ADMIN_TOKEN)
    await card.get_by_label("Body").fill(f'{{"name": "{name}"}}')
    await card.get_by_label("Idempotency-Key").fill(name)

    await expect(await sent(card)).to_contain_text("202 Accepted")

    await expect(await sent(card)).to_contain_text(f'"name": "{name}"')
    status, _, again = await client.request(
        "POST",
        "/v1/signals",
        data=f'{{"name": "{name}"}}'.encode(),
        headers={"Idempotency-Key": name, "Content-Type": "application/json"},
    )
    assert status == 202
    await expect(card.get_by_role("status")).to_contain_text(f'"id": {again["id"]}')


async def test_a_request_is_tried_by_the_session_of_the_console(tab, name):
    await tab.sign_in(token=ADMIN_TOKEN)
    card = await opened(tab, "createUser")
    await card.get_by_label("Body").fill(f'{{"name": "{name}", "password": "correct horse"}}')

    await expect(await sent(card)).to_contain_text("201 Created")


async def test_a_token_goes_before_the_session_of_the_console(client, tab, name):
    tab.expect("status of 403")
    await tab.sign_in(token=await token_of(client, "signals:read"))
    card = await opened(tab, "createUser")
    await card.get_by_label("Body").fill(f'{{"name": "{name}", "password": "correct horse"}}')
    await expect(await sent(card)).to_contain_text("403 Forbidden")

    await fill_token(tab, ADMIN_TOKEN)
    await expect(await sent(card)).to_contain_text("201 Created")


async def test_parameters_are_sent_and_errors_are_shown(tab):
    tab.expect(r"status of 40[01]")
    card = await opened(tab, "listDeliveries")
    await expect(await sent(card)).to_contain_text("401 Unauthorized")

    await fill_token(tab, ADMIN_TOKEN)
    await card.get_by_label("limit", exact=True).fill("0")
    await expect(await sent(card)).to_contain_text("must be a whole number from 1 to 1000")

    tab.expect(r"status of 404")
    show = await opened(tab, "showDelivery")
    await show.get_by_label("id", exact=True).fill("1-999999")
    await expect(await sent(show)).to_contain_text("There is no delivery")


async def test_a_request_without_a_value_that_its_path_needs_is_not_sent(tab):
    tab.expect("status of 404")
    card = await opened(tab, "showDelivery")
    await fill_token(tab, ADMIN_TOKEN)
    requests = []
    tab.page.on("request", lambda request: requests.append(request.url))
    await expect(await sent(card)).to_have_text("Not sent: fill in id, which the path needs.")
    await expect(card.get_by_label("id", exact=True)).to_be_focused()
    assert requests == []

    await card.get_by_label("id", exact=True).fill("1-999999")
    await expect(await sent(card)).to_contain_text("There is no delivery")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_wrong_with_open_operations(window, scheme):
    tab = await window.tab(scheme=scheme)
    card = await opened(tab, "createSubscription")
    await tab.page.get_by_text("Credentials for trying operations").click()
    await card.get_by_text("Members and an example").first.click()

    assert await tab.check_accessibility() == {}
