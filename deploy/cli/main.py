"""The command ``signal-broker``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from ipaddress import ip_network
from typing import Any

import click
import uvloop

from broker.access import Permission
from broker.errors import SignalBrokerError
from broker.logs import configure_logs
from broker.settings import Settings, read_settings
from broker.store.access import AccessStore
from broker.store.migrate import migrate as apply_migrations
from deploy.cli.parts import Parts, sole_user, store_url
from deploy.cli.serve import GATEWAY, WORKERS, serve

FIRST_TOKEN = "admin"  # noqa: S105  (a name)


class OneLine(click.Group):
    """A group whose commands fail with one clear line, never a stack trace."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; our own errors become a line on standard error and exit status 1."""
        try:
            return super().invoke(ctx)
        except (SignalBrokerError, OSError) as error:
            raise click.ClickException(str(error)) from error
        except ExceptionGroup as group:
            ours = group.subgroup((SignalBrokerError, OSError))
            if ours is None:
                raise
            raise click.ClickException(str(ours.exceptions[0])) from group


def run_async(work: Coroutine[Any, Any, None]) -> None:
    """Run *work* on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


@click.group(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="signal-broker")
def main() -> None:
    """Throw a signal once; every subscriber gets it.

    Settings come from environment variables with the prefix SIGNAL_BROKER_; the README lists them.
    """


@main.command()
def run() -> None:
    """Run the whole product in one process."""
    settings = read_settings()
    if "egress_allow" not in settings.model_fields_set:
        settings = settings.model_copy(update={"egress_allow": (ip_network("127.0.0.0/8"), ip_network("::1/128"))})
    configure_logs(settings)
    with sole_user(settings), store_url(settings) as url:
        run_async(_run(settings, url))


async def _run(settings: Settings, url: str) -> None:
    await apply_migrations(url, wait=30)
    await serve(settings, url, [GATEWAY, *WORKERS], _announce)


async def _announce(parts: Parts, url: str) -> None:
    """Print how to begin. The first start makes an admin token, and shows it this once."""
    access = AccessStore(parts.database)
    if parts.settings.admin_token is not None:
        shown, pasted = "the one in SIGNAL_BROKER_ADMIN_TOKEN", "$SIGNAL_BROKER_ADMIN_TOKEN"
    elif await access.has_token_named(FIRST_TOKEN):
        shown, pasted = "the one printed at the first start", "$TOKEN"
    else:
        _, shown = await access.create_token(name=FIRST_TOKEN, permissions=[Permission.ADMIN], created_by="first start")
        pasted = shown
    print(
        f"ready {url}",
        f"docs {url}/docs",
        f"admin token {shown}",
        "throw a first signal:",
        f"  curl -i {url}/v1/signals -H 'Content-Type: application/json' -H \"Authorization: Bearer {pasted}\""
        """ -d '{"name": "policy_conditions_changed", "payload": {"policy": 42}}'""",
        sep="\n",
        flush=True,
    )


async def _say_ready(_parts: Parts, url: str) -> None:
    print(f"ready {url}", flush=True)


@main.command()
def gateway() -> None:
    """Run a gateway: any number of them work side by side."""
    _serve([GATEWAY])


@main.command()
@click.argument("roles", nargs=-1, type=click.Choice(WORKERS))
def worker(roles: tuple[str, ...]) -> None:
    """Run worker roles (all of them, if none is named): any number of each work side by side."""
    _serve(roles or WORKERS)


def _serve(roles: tuple[str, ...] | list[str]) -> None:
    settings = read_settings()
    configure_logs(settings)
    with store_url(settings) as url:
        run_async(serve(settings, url, roles, _say_ready))


@main.command()
def migrate() -> None:
    """Bring the store's schema up to date; safe to run at any time, from anywhere."""
    settings = read_settings()
    configure_logs(settings)
    with store_url(settings) as url:
        run_async(apply_migrations(url, wait=60))
    print("the schema is up to date")


if __name__ == "__main__":
    sys.exit(main())
