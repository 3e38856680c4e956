"""The command ``signal-broker``."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

from broker.errors import SignalBrokerError
from broker.reasons import reason_of
from broker.texts import escape
from deploy.cli.products import given_options, with_product

COMMANDS = {
    "Processes": {
        "run": ("processes", "Run the whole product in one process."),
        "gateway": ("processes", "Run a gateway."),
        "worker": ("processes", "Run worker roles."),
    },
    "Setting up": {
        "migrate": ("processes", "Bring the store's schema up to date."),
        "reseal": ("reseal", "Seal secrets at rest, after an upgrade or with another key."),
        "topology": ("topology", "Show RabbitMQ's exchanges, queues and bindings, or declare them."),
        "token": ("tokens", "Create, list, rotate and revoke API tokens."),
        "user": ("users", "Create, list and delete users."),
        "quota": ("quotas", "Manage how much tenants and API tokens may use."),
        "endpoint": ("endpoints", "Manage signal endpoints and their tokens."),
        "subscribe": ("subscribe", "Create a subscription."),
    },
    "Working": {
        "throw": ("throwing", "Throw a signal."),
        "tail": ("following", "Follow the signals that are recorded."),
        "listen": ("following", "Receive signals on this machine."),
        "explain": ("explain", "Show which subscriptions would get a signal, and why."),
        "signals": ("signals", "List, show and follow recorded signals."),
        "deliveries": ("deliveries", "List, show, redrive and cancel deliveries."),
        "subscriptions": ("subscriptions", "List, show, change, test and delete subscriptions."),
        "redrive": ("redrives", "Retry deliveries: dead ones, or those in another state."),
        "replay": ("replays", "Deliver recorded signals to a subscription."),
        "ledger": ("ledger", "Show whether the books balance."),
        "stats": ("stats", "Show rates and latencies."),
        "events": ("events", "Show what happened that operators are to know of."),
        "audit": ("audit", "Show who changed what."),
        "recover": ("recover", "Put poison back into its queue."),
        "doctor": ("doctor", "Check the installation."),
    },
    "Your terminal": {
        "login": ("login", "Store the URL and the token of a product."),
        "verify": ("verify", "Check a webhook's signature."),
        "completion": ("completion", "Print what makes a shell complete commands."),
    },
}
"""Module and summary of every command, by heading."""

HERE = ("run", "gateway", "worker", "migrate", "reseal", "topology", "recover", "doctor", "verify", "completion")
"""The commands that call no product: those of the processes, those that open their store and transport, and others."""

_MODULES = {name: module for section in COMMANDS.values() for name, (module, _) in section.items()}


class Commands(click.Group):
    """Imports a command's module when the command is called, and shows expected errors as one line."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the help page."""
        return list(_MODULES)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Return the command *name*, if there is one."""
        if name not in _MODULES:
            return None
        command: click.Command = getattr(import_module(f"deploy.cli.{_MODULES[name]}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that *args* begin with; one that calls no product is not told of one."""
        name, command, rest = super().resolve_command(ctx, args)
        given = given_options(ctx)
        if name in HERE and given:
            raise click.UsageError(f"--{min(given)} does not go with `{name}`, which calls no product")
        return name, command, rest

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands from the table alone, without importing their modules."""
        for heading, section in COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, summary) for name, (_, summary) in section.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an expected error becomes a line on standard error and exit status 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click ends quietly when the reader has closed the pipe
        except click.ClickException as error:
            error.message = escape(error.message, keep="\n")  # type: ignore[misc]
            raise
        except (SignalBrokerError, OSError) as error:
            raise click.ClickException(escape(reason_of(error), keep="\n")) from error
        except ExceptionGroup as group:
            expected = group.subgroup((SignalBrokerError, OSError))
            if expected is None:
                raise
            raise click.ClickException(escape(reason_of(expected.exceptions[0]), keep="\n")) from group


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="signal-broker")
@with_product
def main() -> None:
    """Throw a signal once; every subscriber gets it.

    Commands call a product: the one of --url, of SIGNAL_BROKER_URL or of `signal-broker login`, else the one that runs
    in this directory (on SIGNAL_BROKER_DATA_DIR). Settings of a product come from environment variables with the prefix
    SIGNAL_BROKER_; the README lists them.
    """


if __name__ == "__main__":
    sys.exit(main())
