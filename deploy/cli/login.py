"""``login``: stores the URL and the token of a product."""

from __future__ import annotations

import os
import sys

import click

from deploy.cli.api import open_api
from deploy.cli.loop import run_async
from deploy.cli.output import as_json, example, show_one
from deploy.cli.problems import ApiError
from deploy.cli.products import Product, check_token, check_url, given_options, with_product
from deploy.cli.profiles import DEFAULT, Profile, check_profile_name, read_profiles, store_profile


@click.command(
    epilog=example(
        "signal-broker login --url https://signals.example.com",
        "signal-broker login --url https://staging.example.com --profile staging",
    )
)
@as_json
@with_product
@click.pass_context
def login(ctx: click.Context, *, as_json: bool) -> None:
    """Store the URL and the token of a product, for all commands that follow.

    What is not given is asked for, and checked with a request. --profile stores it under a name of its own, for
    commands with that --profile, or with SIGNAL_BROKER_PROFILE.
    """
    given = given_options(ctx)
    name = check_profile_name(given.get("profile") or os.environ.get("SIGNAL_BROKER_PROFILE") or DEFAULT)
    before = read_profiles().get(name)
    url = given.get("url") or os.environ.get("SIGNAL_BROKER_URL")
    url = check_url(url or _ask("URL", "--url", default=None if before is None else before.url))
    token = given.get("token") or os.environ.get("SIGNAL_BROKER_TOKEN")
    token = check_token(token or _ask("Token", "--token", hide_input=True))
    reads = _check(Product(url, token))
    path = store_profile(name, Profile(url, token))
    shown = {"profile": name, "url": url, "file": str(path), "reads": reads}
    show_one(shown, "profile", "url", "file", as_json=as_json)


def _ask(what: str, option: str, *, default: str | None = None, hide_input: bool = False) -> str:
    if not sys.stdin.isatty():
        raise click.UsageError(f"there is no terminal to ask for the {what.lower()}: pass {option}")
    answer: str = click.prompt(what, default=default, hide_input=hide_input, err=True)
    return answer.strip()


def _check(product: Product) -> bool:
    """Return whether the token of *product* may read signals.

    Raises:
        ApiError: It opens nothing, or the product does not answer.
    """
    reads = True

    async def call() -> None:
        nonlocal reads
        async with open_api(product) as api:
            try:
                await api.page("/v1/signals", {"limit": 1})
            except ApiError as error:
                if error.status != 403:
                    raise
                reads = False  # it is good for other things

    run_async(call())
    return reads
