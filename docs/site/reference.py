"""Pages of the site that are generated from code: settings, HTTP routes, commands, the Python APIs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from broker.settings import PREFIX, Settings
from deploy.cli.main import main

_COMMANDS = """# Commands

What `--help` prints for each. [The command line](../docs/commands.md) has them by task.
"""
_PYTHON = """# Python handlers of a worker

[Python handlers](../docs/handlers.md) shows how they are written, hosted and tested.

```{eval-rst}
.. autoclass:: workers.handlers.Handlers

   .. automethod:: on
   .. automethod:: try_out

.. autoclass:: workers.handlers.ReceivedSignal
   :members:

.. autoexception:: workers.handlers.TryLater

.. autoexception:: workers.handlers.GiveUp

.. autoclass:: workers.handlers.Result
   :members:

.. autoclass:: workers.handlers.Outcome
   :members:
   :undoc-members:
```
"""
_CLIENT = """# Python client

[The Python client](../clients/python/README.md) shows how it is installed and used.
`AsyncClient` has the methods of `Client`, to be awaited.

```{eval-rst}
.. autoclass:: signal_broker_client.Client
   :members:

.. autoclass:: signal_broker_client.Throw
   :members:

.. autofunction:: signal_broker_client.verify

.. autoclass:: signal_broker_client.Handlers

   .. automethod:: on
   .. automethod:: try_out
   .. automethod:: run
   .. automethod:: serve

.. autoexception:: signal_broker_client.ClientError

.. autoexception:: signal_broker_client.Refused

.. autoexception:: signal_broker_client.Unavailable

.. autoexception:: signal_broker_client.InvalidWebhook
```

`ReceivedSignal`, `Result`, `Outcome`, `TryLater` and `GiveUp` are in `signal_broker_client`, too, and are those
of [a worker's handlers](python.md).
"""
_ROUTES = """# HTTP routes

Generated from the OpenAPI document, which every gateway answers at `/openapi.json`, and `/docs` shows with all members
of each request and answer. [HTTP](../docs/http.md) has what holds for all of them.
"""

_HEAD = ("| request | does | answers |", "|---|---|---|")


def generate(openapi: Mapping[str, Any]) -> dict[str, str]:
    """Return the pages as Markdown, by their paths in the site."""
    return {
        "reference/settings.md": f"# Settings\n\nSettings are environment variables.\n\n{settings_table()}\n",
        "reference/routes.md": routes(openapi),
        "reference/commands.md": commands(main, "signal-broker"),
        "reference/python.md": _PYTHON,
        "reference/client.md": _CLIENT,
    }


def settings_table() -> str:
    """Return the table of all settings, as the README has it, too."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in {None, ()} else f"`{field.default}`"
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines)


def routes(openapi: Mapping[str, Any]) -> str:
    """Return a page with a table of the routes below each first part of a path."""
    groups: dict[str, list[str]] = {}
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            statuses = ", ".join(operation["responses"])
            line = f"| `{method.upper()} {path}` | {operation['summary']} | {statuses} |"
            groups.setdefault(_group(path), []).append(line)
    tables = ("\n".join([f"## {group}", "", *_HEAD, *lines]) for group, lines in groups.items())
    return "\n\n".join([_ROUTES, *tables]) + "\n"


def commands(command: click.Command, name: str) -> str:
    """Return a page with the help of *command*, which is called *name*, and of every command below it."""
    return "\n\n".join([_COMMANDS, *_helps(click.Context(command, info_name=name))]) + "\n"


def _helps(context: click.Context) -> Iterator[str]:
    command = context.command
    yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if below := command.get_command(context, name):
                yield from _helps(click.Context(below, info_name=name, parent=context))


def _group(path: str) -> str:
    """Return what routes are listed under: ``/v1/signals/{id}`` is below ``/v1/signals``."""
    parts = [part for part in path.split("/") if part and "{" not in part]
    return "`/" + "/".join(parts[:2]) + "`"
