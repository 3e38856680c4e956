"""Users of RabbitMQ with the rights of one role, as the runbook has them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from tests.support.deployment import DEPLOY
from tests.support.rabbitmq_servers import Rabbit, vhost_of


def rights(role: str) -> list[str]:
    """Return what the runbook says that *role* may configure, write and read."""
    text = (DEPLOY / "runbook.md").read_text().replace(r"\|", "¦")
    row = next(line for line in text.splitlines() if re.match(rf"\| `(worker )?{role}` \| `\^", line))
    return [cell.strip(" `").replace("¦", "|") for cell in row.strip("|").split("|")[1:]]


@asynccontextmanager
async def user(rabbitmq: Rabbit, url: str, role: str) -> AsyncIterator[str]:
    """Yield the URL of a user with the rights of *role*."""
    vhost, parts = vhost_of(url), urlsplit(url)
    name = f"{role}-{vhost}"
    await asyncio.to_thread(rabbitmq.ctl, "add_user", name, "secret")
    limited = f"amqp://{name}:secret@{parts.hostname}:{parts.port}/{vhost}"
    await permit(rabbitmq, limited, *rights(role))
    yield limited
    await asyncio.to_thread(rabbitmq.ctl, "delete_user", name)


async def permit(rabbitmq: Rabbit, url: str, configure: str, write: str, read: str) -> None:
    """Let the user of *url* configure, write and read what matches these patterns, and nothing else."""
    name = urlsplit(url).username or ""
    await asyncio.to_thread(rabbitmq.ctl, "set_permissions", "-p", vhost_of(url), name, configure, write, read)
