"""The commands that run processes, and ``migrate``, which prepares the store for them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from pathlib import Path

import click

from broker.access import Permission, Principal
from broker.errors import SecretUnreadable
from broker.settings import Settings
from broker.store.administration.tokens import AccessStore
from broker.store.postgres.database import Database
from broker.store.postgres.migrate import migrate as migrate_store
from broker.store.postgres.schema import NEEDED
from broker.store.subscriptions.sealing import SealingStore, is_sealing
from deploy.cli.backends import (
    EMBEDDED,
    allow_loopback,
    open_secrets,
    require_named_store,
    settings_with_logs,
    sole_user,
    store_url,
)
from deploy.cli.handler_apps import load_apps
from deploy.cli.loop import run_async, run_until_stopped
from deploy.cli.output import as_json, example, show_json
from deploy.cli.running import Announcement
from deploy.cli.runtime import Runtime
from deploy.cli.serve import GATEWAY, HANDLERS, WORKERS, serve

PROGRAM = "signal-broker"
FIRST_TOKEN = "admin"  # noqa: S105  (a name)
FIRST_START = Principal(name="first start", permissions=frozenset({Permission.ADMIN}))


_app = click.option(
    "--app",
    "places",
    metavar="SOURCE:NAME",
    multiple=True,
    help="Run these Python handlers: NAME in SOURCE, a module (shop.billing; the current directory is importable) or"
    " the path of a file (shop/billing.py). Repeatable.",
)


@click.command(epilog=example("SIGNAL_BROKER_HTTP_PORT=9090 SIGNAL_BROKER_DATA_DIR=/var/lib/signals signal-broker run"))
@_app
def run(places: tuple[str, ...]) -> None:
    """Run the whole product in one process.

    With the embedded store, one process runs per data directory; other commands work beside it.
    """
    settings = allow_loopback(settings_with_logs())
    apps = load_apps(places)
    with sole_user(settings), store_url(settings) as url, Announcement(settings) as announcement:

        async def announce(runtime: Runtime, address: str) -> None:
            announcement.tell(address)
            await _announce(runtime, address)

        roles = [GATEWAY, *WORKERS]
        token = announcement.token
        prepare = partial(_prepare, settings, url)
        run_until_stopped(partial(serve, settings, url, roles, announce, apps=apps, prepare=prepare, local_token=token))


async def _prepare(settings: Settings, url: str) -> None:
    """Bring the schema up to date; of an embedded store no process of an earlier version is left, so it is sealed."""
    await migrate_store(url)
    if settings.store_url == EMBEDDED:
        async with Database(url, size=1) as database:
            if not await is_sealing(database):
                with suppress(SecretUnreadable):  # the key is lost; only what runs makes new secrets
                    await SealingStore(database).reseal(open_secrets(settings))


async def _announce(runtime: Runtime, url: str) -> None:
    """Print how to begin. The first start makes an admin token and prints it, this once."""
    access = AccessStore(runtime.database)
    if runtime.settings.admin_token is not None:
        shown, pasted = "the one in SIGNAL_BROKER_ADMIN_TOKEN", "$SIGNAL_BROKER_ADMIN_TOKEN"
    elif await access.has_token_named(FIRST_TOKEN):
        shown = (
            f"the one printed at the first start; `{_this_program()} token create me --permission admin` makes another"
        )
        pasted = "$TOKEN"
    else:
        _, shown = await access.create_token(name=FIRST_TOKEN, permissions=[Permission.ADMIN], by=FIRST_START)
        pasted = shown
    print(f"ready {url}")
    url = runtime.settings.public_url or url
    print(
        f"console {url}/console",
        f"docs {url}/docs",
        f"admin token {shown}",
        "throw a first signal:",
        f"  curl -i {url}/v1/signals -H 'Content-Type: application/json' -H \"Authorization: Bearer {pasted}\""
        """ -d '{"name": "policy.changed", "payload": {"policy": 42}}'""",
        sep="\n",
        flush=True,
    )


def _this_program() -> str:
    """Return how a shell in this directory calls the program again, which may not be on its PATH (`make run`)."""
    called = Path(sys.argv[0])
    return sys.argv[0] if called.name == PROGRAM and shutil.which(PROGRAM) is None else PROGRAM


@click.command(epilog=example("SIGNAL_BROKER_HTTP_HOST=0.0.0.0 signal-broker gateway"))
def gateway() -> None:
    """Run a gateway; any number of them work side by side."""
    _serve([GATEWAY])


@click.command(
    epilog=example(
        "signal-broker worker recorder scheduler",
        "signal-broker worker handlers --app shop.billing:handlers",
        "signal-broker worker handlers --app workers/billing.py:handlers",
    )
)
@click.argument("roles", nargs=-1, type=click.Choice([*WORKERS, HANDLERS]))
@_app
def worker(roles: tuple[str, ...], places: tuple[str, ...]) -> None:
    """Run worker roles; any number of each work side by side.

    Without a role it runs all of them, and handlers if there is an --app.
    """
    if roles and (HANDLERS in roles) != bool(places):
        raise click.UsageError("`handlers` and --app go together")
    _serve([role for role in roles if role != HANDLERS] if roles else WORKERS, places)


def _serve(roles: Collection[str], places: tuple[str, ...] = ()) -> None:
    settings = settings_with_logs()
    require_named_store(settings)
    apps = load_apps(places)
    with store_url(settings) as url, Announcement(settings) as announcement:

        async def announce(_runtime: Runtime, address: str) -> None:
            if GATEWAY in roles:
                announcement.tell(address)
            print(f"ready {address}", flush=True)

        run_until_stopped(partial(serve, settings, url, roles, announce, apps=apps, local_token=announcement.token))


@click.command(epilog=example("SIGNAL_BROKER_STORE_URL=postgresql://me@db/signals signal-broker migrate"))
@as_json
def migrate(*, as_json: bool) -> None:
    """Bring the store's schema up to date; safe to run at any time, from anywhere."""
    settings = settings_with_logs()
    require_named_store(settings)
    with store_url(settings) as url:
        run_async(migrate_store(url, wait=60))
    if as_json:
        show_json({"schema": NEEDED})
    else:
        print("the schema is up to date")
