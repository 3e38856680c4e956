"""The plots of the console in a real browser, of what is in the statistics."""

from __future__ import annotations

import asyncio
import re
from functools import partial

import pytest
from playwright.async_api import expect

from broker.statistics import HOUR
from broker.store.postgres.database import Database
from tests.integration.test_console_in_browser import button
from tests.support.statistics import add_figures
from tests.support.throwing import subscribe, token

pytestmark = pytest.mark.slow

LIGHT, DARK = (26, 86, 196), (127, 176, 255)
"""The colour of the line of what is accepted."""
_DRAWN = """([plot, wanted]) => {
    const canvas = document.querySelectorAll(".canvas canvas")[plot];
    if (!canvas) return false;
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    for (let at = 0; at < data.length; at += 4)
        if (data[at + 3] > 200 && wanted.every((part, index) => Math.abs(part - data[at + index]) < 12)) return true;
    return false;
}"""
_HIDE = """hidden => {
    Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture
async def database(product):
    async with Database(product.environment["STORE_URL"]) as database:
        yield database


@pytest.fixture
async def credential(client, name):
    """Return the token of a caller that is told of this test's name only."""
    return await token(client, "signals:read", "subscriptions:manage", names=[name])


@pytest.fixture
async def subscription(client, name):
    return await subscribe(client, name)


@pytest.fixture
def add(database, subscription, name):
    """Call it with a number of minutes and what happened to the subscription so many minutes ago."""
    return partial(add_figures, database, subscription["id"], name)


@pytest.fixture
async def figures(add):
    """Add what happened half an hour ago, and two minutes ago, and yesterday."""
    await add(1200, accepted=9000, delivered=9000, dead=1, latencies={50: 9000}, seconds=HOUR)
    await add(30, accepted=30, delivered=20, retried=6, latencies={90: 20})
    await add(2, accepted=12, delivered=3, dead=1, latencies={50: 3})


async def opened(tab, credential, page="overview"):
    await tab.sign_in(token=credential)
    await tab.open(f"/console#/{page}")
    return tab.page.get_by_role("region", name="Plots")


def legend(plots, line):
    return plots.get_by_role("button", name=re.compile(f"^{line} "))


async def draws(tab, plot, colour):
    await tab.page.wait_for_function(_DRAWN, arg=[plot, colour])


async def test_the_overview_shows_rates_and_latencies_of_the_last_hour(tab, credential, figures):
    plots = await opened(tab, credential)

    await expect(plots.get_by_role("heading")).to_have_text(
        ["Signals and deliveries per minute", "From throw to delivery"]
    )
    await expect(legend(plots, "accepted")).to_have_text(re.compile(r"^\s*accepted 0 max 30$"))
    await expect(legend(plots, "delivered")).to_have_text(re.compile("delivered 0 max 20"))
    await expect(legend(plots, "dead")).to_have_text(re.compile("dead 0 max 1"))
    await expect(legend(plots, "retried")).to_have_text(re.compile("retried 0 max 6"))
    await expect(legend(plots, "p50")).to_have_text(re.compile("p50 112 ms max 5.07 s"))
    told = plots.get_by_role("img", name="Signals and deliveries per minute, in the last hour: accepted 0, at most 30;")
    await expect(told).to_be_visible()
    for plot in (0, 1):
        await draws(tab, plot, LIGHT)


async def test_the_last_day_is_in_the_address(tab, credential, figures):
    plots = await opened(tab, credential)
    await button(plots, "Last day").click()
    await expect(plots.get_by_role("heading").first).to_have_text("Signals and deliveries per second")
    await expect(legend(plots, "accepted")).to_contain_text("max 2.5")
    await expect(button(plots, "Last day")).to_have_attribute("aria-pressed", "true")
    assert tab.page.url.endswith("#/overview?span=day")

    await tab.page.reload()
    await expect(legend(plots, "accepted")).to_contain_text("max 2.5")
    await button(plots, "Last hour").click()
    await expect(legend(plots, "accepted")).to_contain_text("max 30")


async def test_the_figures_are_a_table_too(tab, credential, figures):
    plots = await opened(tab, credential)
    await plots.get_by_text("Figures", exact=True).click()
    table = plots.get_by_role("region", name="Figures").get_by_role("row")

    await expect(table.first).to_have_text("Fromacceptedrecordeddelivereddeadretriedp50p95p99")
    await expect(table.filter(has_text="5.07 s")).to_have_text(re.compile(r"30\s*30\s*20\s*0\s*6\s*5.07 s"))
    assert 61 <= await table.count() <= 62
    await plots.get_by_text("curl", exact=True).click()
    await expect(plots.get_by_label("The same as a command")).to_contain_text("/v1/stats?step=60'")


async def test_a_line_is_hidden_and_the_pointer_asks_for_a_moment(tab, credential, figures):
    plots = await opened(tab, credential)
    await draws(tab, 0, LIGHT)
    await legend(plots, "accepted").click()
    await expect(legend(plots, "accepted")).to_have_attribute("aria-pressed", "false")
    await tab.page.wait_for_function(f"arg => !({_DRAWN})(arg)", arg=[0, LIGHT])
    await legend(plots, "accepted").click()
    await draws(tab, 0, LIGHT)

    newest = plots.get_by_text("Newest, and highest in the last hour")
    await expect(newest).to_have_count(2)
    await tab.page.locator(".canvas").first.hover()
    await expect(plots.get_by_text(re.compile("^At .*, and highest in the last hour"))).to_have_count(2)
    await tab.page.get_by_role("heading", name="Overview").hover()
    await expect(newest).to_have_count(2)


async def test_nothing_is_said_to_have_happened_where_nothing_did(tab, credential, add):
    plots = await opened(tab, credential)
    await expect(plots.get_by_text("Nothing happened in the last hour.")).to_have_count(2)
    await add(3, accepted=2)
    await tab.page.reload()
    await expect(legend(plots, "accepted")).to_contain_text("max 2")
    await expect(plots.get_by_text("Nothing was delivered in the last hour.")).to_be_visible()


async def test_what_comes_is_drawn_while_the_page_is_seen(tab, credential, add, figures):
    await tab.page.clock.install()
    plots = await opened(tab, credential)
    await expect(legend(plots, "accepted")).to_contain_text("max 30")
    asked = []
    tab.page.on("request", lambda request: "/v1/stats" in request.url and asked.append(request.url))
    await add(5, accepted=45)
    await tab.page.clock.run_for(16_000)
    await expect(legend(plots, "accepted")).to_contain_text("max 45")
    assert len(asked) == 1

    await tab.page.evaluate(_HIDE, True)
    await tab.page.clock.run_for(120_000)
    assert len(asked) == 1
    await add(6, accepted=50)
    await tab.page.evaluate(_HIDE, False)
    await expect(legend(plots, "accepted")).to_contain_text("max 50")


async def test_plots_stay_while_the_gateway_does_not_answer(tab, credential, figures):
    tab.expect("ERR_FAILED")
    await tab.page.clock.install()
    plots = await opened(tab, credential)
    await expect(legend(plots, "accepted")).to_contain_text("max 30")
    await tab.page.route("**/v1/stats*", lambda route: route.abort())
    await tab.page.clock.run_for(16_000)
    said = "The gateway does not answer. What you see is from before."
    await expect(plots.get_by_role("alert")).to_contain_text(said)
    await draws(tab, 0, LIGHT)
    await tab.page.reload()
    await expect(plots.get_by_text("There are no figures.")).to_have_count(2)

    await tab.page.unroute("**/v1/stats*")
    await tab.page.clock.run_for(16_000)
    await expect(legend(plots, "accepted")).to_contain_text("max 30")
    await expect(plots.get_by_role("alert")).to_be_hidden()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
async def test_plots_are_for_everybody_and_move_nothing(window, credential, figures, width, scheme):
    tab, may_answer = await window.tab(width=width, height=844, scheme=scheme), asyncio.Event()

    async def wait(route):
        await may_answer.wait()
        await route.continue_()

    await tab.page.route("**/v1/stats*", wait)
    plots = await opened(tab, credential)
    await expect(plots.get_by_text("Loading …")).to_have_count(2)
    before = (await plots.bounding_box())["height"]
    may_answer.set()
    await expect(legend(plots, "p99")).to_contain_text("ms")
    assert (await plots.bounding_box())["height"] == before
    await plots.get_by_text("Figures", exact=True).click()
    await expect(plots.get_by_role("region", name="Figures")).to_be_visible()
    await expect(tab.page.locator("[aria-busy]")).to_have_count(0)
    found = await tab.check_accessibility()
    assert not {impact: found[impact] for impact in ("serious", "critical") if found.get(impact)}
    assert await tab.page.evaluate("document.documentElement.scrollWidth") <= width


async def test_plots_follow_the_colours_and_the_size_of_the_window(tab, credential, figures):
    await opened(tab, credential)
    await draws(tab, 0, LIGHT)
    await tab.page.emulate_media(color_scheme="dark")
    await draws(tab, 0, DARK)
    await tab.page.set_viewport_size({"width": 390, "height": 844})
    await tab.page.wait_for_function("() => document.querySelector('.canvas canvas').clientWidth < 390")
    await draws(tab, 0, DARK)
    assert await tab.page.evaluate("document.documentElement.scrollWidth") <= 390


async def test_a_subscription_shows_its_own_plots_and_which_part_is_delivered(
    client, tab, credential, subscription, figures
):
    other = await subscribe(client, subscription["name"])
    plots = await opened(tab, credential, f"subscriptions/{subscription['id']}")
    await expect(legend(plots, "delivered")).to_contain_text("max 20")
    await expect(tab.page.get_by_text("95.8 % in the last hour, 99.9 % in the last day")).to_be_visible()
    await button(plots, "Last day").click()
    await expect(legend(plots, "delivered")).to_contain_text("max 2.5")
    assert tab.page.url.endswith(f"#/subscriptions/{subscription['id']}?span=day")

    await tab.open("/console#/subscriptions")
    rows = tab.page.get_by_role("row")
    of_first = rows.filter(has=tab.page.get_by_role("link", name=str(subscription["id"]), exact=True))
    await expect(of_first.get_by_role("cell", name="95.8 %")).to_be_visible()
    await expect(of_first.get_by_role("cell", name="99.9 %")).to_be_visible()
    of_other = rows.filter(has=tab.page.get_by_role("link", name=str(other["id"]), exact=True))
    await expect(of_other.get_by_role("cell", name="—")).to_have_count(2)
    await tab.open(f"/console#/subscriptions/{other['id']}")
    await expect(plots.get_by_text("Nothing happened in the last hour.")).to_have_count(2)
