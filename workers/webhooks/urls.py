"""URLs of webhooks: where a request goes, and what it asks for, byte for byte as the URL was given."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from yarl import URL

_FORBIDDEN = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~!$&'()*+,;=:@/?%]")
"""What RFC 3986 allows neither in a path nor in a query."""
_END_OF_AUTHORITY = re.compile("[/?]")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a request goes, and what it asks for.

    Args:
        scheme: ``http`` or ``https``.
        host: The name in its IDNA form, or the IP address without brackets; a final dot of the URL's is kept.
        port: The port, the scheme's own if the URL has none.
        authority: The ``Host`` header: without a final dot, and without the scheme's own port.
        target: The request target.
    """

    scheme: str
    host: str
    port: int
    authority: str
    target: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """What connections can be shared for."""
        return self.scheme, self.server_name, self.port

    @property
    def server_name(self) -> str:
        """The name that a certificate has to prove."""
        return self.host.rstrip(".")


def parse_url(url: str) -> Destination:
    """Return the destination that *url* means, which `broker.egress.url_problem` finds nothing wrong with.

    Path and query stay as they are, dot segments and percent-encodings included; only characters that RFC 3986 forbids
    there are percent-encoded.
    """
    # The guard judged the host as yarl reads it, so no other reading may decide where the request goes.
    parsed = URL(url)
    _, _, rest = url.partition("//")
    end = _END_OF_AUTHORITY.search(rest)
    target = "" if end is None else _FORBIDDEN.sub(lambda found: quote(found[0], safe=""), rest[end.start() :])
    return Destination(
        scheme=parsed.scheme,
        host=parsed.raw_host or "",
        port=parsed.port or 0,
        authority=parsed.host_port_subcomponent or "",
        target=target if target.startswith("/") else f"/{target}",
    )
