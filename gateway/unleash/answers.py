"""Signal endpoints and their tokens as this dialect answers them; the command line prints the same documents."""

from __future__ import annotations

from collections.abc import Sequence

from broker.endpoints import Endpoint
from broker.store.access import EndpointToken
from gateway.unleash.documents import EndpointDocument, EndpointTokenDocument


def endpoint_document(endpoint: Endpoint, tokens: Sequence[EndpointToken], url: str | None = None) -> EndpointDocument:
    """Return *endpoint* with those of *tokens* that are its own, and with its URL where that is to be shown."""
    return EndpointDocument(
        id=endpoint.id,
        name=endpoint.name,
        enabled=endpoint.enabled,
        description=endpoint.description,
        created_at=endpoint.created_at,
        created_by_user_id=0,
        url=url,
        tokens=[token_document(token) for token in tokens if token.endpoint_id == endpoint.id],
    )


def token_document(token: EndpointToken, value: str | None = None) -> EndpointTokenDocument:
    """Return *token*, with its value where that is to be shown."""
    return EndpointTokenDocument(
        id=token.id,
        name=token.name,
        signal_endpoint_id=token.endpoint_id,
        created_at=token.created_at,
        created_by_user_id=0,
        token=value,
    )
