"""What others wrote into their messages, read so that it never ends the link.

A neighbour in the vhost may publish texts that are not UTF-8, timestamps after the year 9999, and headers nested a
thousand deep. RabbitMQ hands all of it on, pamqp raises, and aiormq ends its connection: for every consumer on it, and
again and again, because the message returns.
"""

from __future__ import annotations

from pamqp import decode
from pamqp.commands import Basic, Connection

_read_properties = Basic.Properties.unmarshal


def be_tolerant() -> None:
    """Let pamqp read every message of this process; properties that it cannot read are as if they were not there."""
    decode.METHODS["shortstr"] = _read_short_text
    Basic.Properties.unmarshal = _read_what_is_readable  # type: ignore[method-assign,assignment]


def hear_refusals() -> None:
    """Let aiormq tell in RabbitMQ's words why it refuses a vhost, as it does for a wrong password.

    RabbitMQ closes the connection then. Pamqp does not know that as an answer to `Connection.Open`, and aiormq reports
    what it does not expect without the words in it.
    """
    Connection.Open.valid_responses = [Connection.OpenOk.name, Connection.Close.name]


def _read_short_text(value: bytes) -> tuple[int, str]:
    end = 1 + value[0]
    return end, value[1:end].decode(errors="replace")


def _read_what_is_readable(properties: Basic.Properties, flags: int, data: bytes) -> None:
    try:
        _read_properties(properties, flags, data)
    except (ValueError, ArithmeticError, LookupError, OSError, RecursionError):
        for name in Basic.Properties.__slots__:
            setattr(properties, name, None)
