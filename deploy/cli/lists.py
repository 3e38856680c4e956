"""What commands that list have in common: options that become parameters of the query, and how much is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from pydantic.alias_generators import to_camel

_FLAGS = {f"{what}_id": f"--{what}" for what in ("tenant", "execution", "subscription", "signal")}
"""The flags that are shorter than the names of their parameters."""

_PAGE = (
    click.option(
        "--limit", type=click.IntRange(1), default=50, show_default=True, metavar="N", help="Show at most so many."
    ),
    click.option("--all", "everything", is_flag=True, help="Show all, however many they are."),
)
with_order = click.option("--oldest-first", is_flag=True, help="Show the oldest first instead of the newest.")
"""The option of a list that is shown with the newest first."""


def with_filters(**filters: tuple[str, Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that gives a command a flag for each parameter in *filters*, and those of a list's length.

    Args:
        filters: The parameters by name, in snake case: what each means, its metavar, its type, or a mapping of both.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(_PAGE):
            command = option(command)
        for name, (meaning, kind) in reversed(filters.items()):
            flag = _FLAGS.get(name, "--" + name.replace("_", "-"))
            shape = kind if isinstance(kind, Mapping) else {"metavar" if isinstance(kind, str) else "type": kind}
            command = click.option(flag, name, help=meaning, **shape)(command)
        return command

    return decorate


def read_filters(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of the query that *options* give."""
    return {to_camel(name): value for name, value in options.items() if value is not None}


def read_values(_: click.Context, option: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    """Return the parameters of the query for what is written as PATH=VALUE.

    Raises:
        click.BadParameter: One is not written so, or two have one path.
    """
    values: dict[str, str] = {}
    for text in given:
        path, sign, value = text.partition("=")
        if not path or not sign:
            raise click.BadParameter(f"{text!r} is not PATH=VALUE", param=option)
        if f"payload.{path}" in values:
            raise click.BadParameter(f"{path!r} is there twice", param=option)
        values[f"payload.{path}"] = value
    return values
