"""``/console`` in a real browser."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.support.browser import opened_window
from tests.support.eventually import eventually
from tests.support.product import ADMIN_TOKEN
from tests.support.throwing import recorded, throw


async def test_one_enters_a_token_and_sees_the_latest_signals(client, tab, name):
    signal = await throw(client, name)
    await recorded(client, signal["id"])

    await tab.open("/console")
    await tab.page.get_by_label("token", exact=False).first.fill(ADMIN_TOKEN)
    await tab.page.keyboard.press("Enter")

    await expect(tab.page.get_by_text(name).first).to_be_visible()


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
            await eventually(lambda: tab.complaints)

    with pytest.raises(AssertionError, match=complaint):
        await show()
    await show(complaint)


async def test_axe_finds_what_is_wrong_in_spite_of_the_policy(tab):
    await tab.open("/console")
    await tab.page.evaluate("document.body.append(document.createElement('input'))")

    found = await tab.check_accessibility()

    assert any(one.startswith("label: ") for one in found["critical"])
