"""The options that limit a token or a user."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click

P = ParamSpec("P")
R = TypeVar("R")

_LIMITS = (
    click.option(
        "--name", "names", multiple=True, metavar="PATTERN", help="Limit it to matching signal names; repeatable."
    ),
    click.option("--tenant", "tenants", multiple=True, metavar="ID", help="Limit it to this tenant; repeatable."),
    click.option(
        "--queue",
        "queues",
        multiple=True,
        metavar="PATTERN",
        help="Limit it to queue targets with a matching name; repeatable. By default, those of its tenants.",
    ),
    click.option(
        "--untenanted", is_flag=True, help="Let it see what has no tenant, although it is limited to tenants."
    ),
)


def with_limits(command: Callable[P, R]) -> Callable[P, R]:
    """Give *command* the options that limit a principal: ``names``, ``tenants``, ``queues`` and ``untenanted``."""
    for option in reversed(_LIMITS):
        command = option(command)
    return command
