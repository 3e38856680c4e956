"""Signal endpoints, their tokens and signals as this dialect answers them; the command line prints the same."""

from __future__ import annotations

from collections.abc import Sequence

from broker.endpoints import Endpoint, EndpointSignal, EndpointToken
from broker.jsontext import encode
from broker.signals import Source
from gateway.unleash.schemas import EndpointSchema, EndpointTokenSchema


def render_endpoint(endpoint: Endpoint, tokens: Sequence[EndpointToken], url: str | None = None) -> EndpointSchema:
    """Return *endpoint* with those of *tokens* that are its own, and with its URL where that is to be shown."""
    return EndpointSchema(
        id=endpoint.id,
        name=endpoint.name,
        enabled=endpoint.enabled,
        description=endpoint.description,
        created_at=endpoint.created_at,
        created_by_user_id=endpoint.created_by_user_id or 0,
        url=url,
        tokens=[render_token(token) for token in tokens if token.endpoint_id == endpoint.id],
    )


def render_token(token: EndpointToken, value: str | None = None) -> EndpointTokenSchema:
    """Return *token*, with its value where that is to be shown."""
    return EndpointTokenSchema(
        id=token.id,
        name=token.name,
        signal_endpoint_id=token.endpoint_id,
        created_at=token.created_at,
        created_by_user_id=token.created_by_user_id or 0,
        token=value,
    )


def endpoint_signal(signal: EndpointSignal) -> bytes:
    """Return *signal* as JSON, in the form of a list of one endpoint's."""
    return _signal(signal, {})


def found_signal(signal: EndpointSignal) -> bytes:
    """Return *signal* as JSON, in the form of a list of all endpoints': with what its endpoint is called."""
    return _signal(signal, {"sourceName": signal.endpoint_name, "sourceDescription": signal.endpoint_description})


def _signal(signal: EndpointSignal, further: dict[str, str | None]) -> bytes:
    document = {
        "id": signal.id,
        "source": Source.SIGNAL_ENDPOINT.value,
        "sourceId": signal.endpoint_id,
        "createdAt": signal.created_at.isoformat(),
        "tokenName": signal.token_name,
        **further,
    }
    return b'%b,"payload":%b}' % (encode(document)[:-1], signal.payload)
