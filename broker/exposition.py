"""The metrics as text, in the format that is asked for."""

from __future__ import annotations

import enum
import re
import time
from collections.abc import Callable, Sequence

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics

from broker.metrics import REGISTRY

_EXPOSITIONS = 5
"""How often a second the metrics are written at most, for how many who ask."""
_QUALITY = re.compile(r"[01](\.[0-9]{0,3})?")


class Format(enum.StrEnum):
    """How the metrics are written, by the media type of that."""

    TEXT = "text/plain"
    """Prometheus's text format."""
    OPENMETRICS = "application/openmetrics-text"

    @property
    def content_type(self) -> str:
        """What the answer says that it is."""
        return CONTENT_TYPE_PLAIN_0_0_4 if self is Format.TEXT else openmetrics.CONTENT_TYPE_LATEST

    def write(self) -> bytes:
        """Return every metric."""
        text: bytes = generate_latest(REGISTRY) if self is Format.TEXT else openmetrics.generate_latest(REGISTRY)  # type: ignore[no-untyped-call]
        return text


def choose_format(accept: str) -> Format:
    """Return the format that the header ``Accept`` prefers: OpenMetrics only if it names that."""
    qualities = {Format.OPENMETRICS.value: 0.0, Format.TEXT.value: 0.0}
    for part in accept.lower().split(","):
        media_type, *parameters = part.replace(" ", "").split(";")
        if media_type in qualities:
            qualities[media_type] = max(qualities[media_type], _quality(parameters))
    wanted = qualities[Format.OPENMETRICS]
    return Format.OPENMETRICS if wanted > 0 and wanted >= qualities[Format.TEXT] else Format.TEXT


def _quality(parameters: Sequence[str]) -> float:
    """Return ``q`` of a part of the header; 1 without one, and 0 if it is no number."""
    given = next((one.removeprefix("q=") for one in parameters if one.startswith("q=")), "1")
    return float(given) if _QUALITY.fullmatch(given) else 0.0


class Exposition:
    """Every metric as text. It takes milliseconds to write, so those who ask for it all the time get one of just now.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spare, self._at = float(_EXPOSITIONS), clock()
        self._texts: dict[Format, bytes] = {}

    def read(self, accept: str = "") -> tuple[bytes, str]:
        """Return every metric in the format that the header ``Accept`` asks for, and its content type."""
        chosen = choose_format(accept)
        now = self._clock()
        self._spare, self._at = min(_EXPOSITIONS, self._spare + (now - self._at) * _EXPOSITIONS), now
        if self._spare >= 1:
            self._spare -= 1
            self._texts = {chosen: chosen.write()}
        elif chosen not in self._texts:
            self._texts[chosen] = chosen.write()
        return self._texts[chosen], chosen.content_type
