"""Signals of endpoints, as this dialect answers them."""

from __future__ import annotations

from broker.endpoints import EndpointSignal
from broker.jsontext import encode
from broker.moments import show_moment
from broker.signals import Source


def endpoint_signal(signal: EndpointSignal) -> bytes:
    """Return *signal* as JSON, in the form of a list of one endpoint."""
    return _signal(signal, {})


def found_signal(signal: EndpointSignal) -> bytes:
    """Return *signal* as JSON, in the form of a list of all endpoints: with the endpoint's name and description."""
    return _signal(signal, {"sourceName": signal.endpoint_name, "sourceDescription": signal.endpoint_description})


def _signal(signal: EndpointSignal, further: dict[str, str | None]) -> bytes:
    document = {
        "id": signal.id,
        "source": Source.SIGNAL_ENDPOINT.value,
        "sourceId": signal.endpoint_id,
        "createdAt": show_moment(signal.created_at),
        "tokenName": signal.token_name,
        **further,
    }
    return b'%b,"payload":%b}' % (encode(document)[:-1], signal.payload)
