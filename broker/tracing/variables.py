"""OpenTelemetry's variables: which of them have values that it cannot use."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from broker.redaction import HIDDEN

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
HTTP, GRPC = "http/protobuf", "grpc"

_RATIOS = ("traceidratio", "parentbased_traceidratio")
_SAMPLERS = ("always_on", "always_off", "parentbased_always_on", "parentbased_always_off", *_RATIOS)
_PAIRS = re.compile(r"\s*([^=,\s]+\s*=[^,]*)(,\s*[^=,\s]+\s*=[^,]*)*,?\s*")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[ !#-+\--:<-\[\]-~]*")
"""What OpenTelemetry takes, before it decodes it."""
_PRINTABLE = re.compile("[ -~]*")
_SHORTEST = 4
"""What is shorter is no credential, and hiding it could hide a status."""


class Wrong(NamedTuple):
    """A variable with a value that cannot be used.

    Args:
        variable: The variable.
        value: Its value; empty if that may be a credential.
        hint: What it may be, and what holds instead.
    """

    variable: str
    value: str
    hint: str


class _Rule(NamedTuple):
    names: Sequence[str]
    allows: Callable[[str], bool]
    hint: str


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Return whether *environment* says where traces go, and does not turn them off."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return False
    return any(environment.get(name) for name in ENDPOINTS)


def protocol(environment: Mapping[str, str]) -> str:
    """Return the protocol of the collector."""
    return next((environment[name] for name in PROTOCOLS if environment.get(name)), HTTP)


def find_wrong(environment: Mapping[str, str]) -> Iterator[Wrong]:
    """Yield the variables in *environment* that OpenTelemetry could not use, or would take for something else."""
    takes_ratio = environment.get("OTEL_TRACES_SAMPLER", "").strip().lower() in _RATIOS
    for rule in [*_RULES, _RATIO] if takes_ratio else _RULES:
        for name in rule.names:
            value = environment.get(name, "")
            if value and not rule.allows(value.strip()):
                yield Wrong(name, "" if name in _HEADERS else value[:100], rule.hint)


def hide_credentials(text: str, environment: Mapping[str, str]) -> str:
    """Return *text* without what may be credentials for the collector: values of headers, and parts of its URL."""
    written = [value for name in _HEADERS for _, value in _pairs(environment.get(name, ""))]
    for url in map(urlsplit, filter(None, map(environment.get, ENDPOINTS))):
        written += [url.query, url.netloc.rpartition("@")[0], url.password or ""]
    values = {form for value in written for sent in (value, unquote(value)) for form in (sent, repr(sent)[1:-1])}
    hidden = {word for value in values for word in (value.strip(), *value.split()) if len(word) >= _SHORTEST}
    if not hidden:
        return text
    return re.sub("|".join(map(re.escape, sorted(hidden, key=len, reverse=True))), HIDDEN, text)


def _pairs(text: str) -> list[tuple[str, str]]:
    """Return the names and values in *text*, as OpenTelemetry parts them."""
    pairs = [pair.strip().partition("=") for pair in text.split(",") if pair.strip()]
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def _are_headers(text: str) -> bool:
    return _are_pairs(text) and all(
        _HEADER_NAME.fullmatch(unquote(name).strip())
        and _HEADER_VALUE.fullmatch(value)
        and _PRINTABLE.fullmatch(unquote(value).strip())
        for name, value in _pairs(text)
    )


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


def _are_pairs(text: str) -> bool:
    return _PAIRS.fullmatch(text) is not None


def _are_known(text: str) -> bool:
    return {name.strip() for name in text.split(",")} <= {"tracecontext", "baggage"}


def _is_from(least: float, most: float) -> Callable[[str], bool]:
    def allows(text: str) -> bool:
        try:
            return least <= float(text) <= most
        except ValueError:
            return False

    return allows


def _is_count(text: str) -> bool:
    return re.fullmatch("[0-9]{1,9}", text) is not None


def _is_positive(text: str) -> bool:
    return _is_count(text) and int(text) > 0


def _is_among(allowed: Collection[str]) -> Callable[[str], bool]:
    return lambda text: text.lower() in allowed


def _otlp(name: str) -> list[str]:
    return [f"OTEL_EXPORTER_OTLP_{name}", f"OTEL_EXPORTER_OTLP_TRACES_{name}"]


_HEADERS = _otlp("HEADERS")
_COUNT_LIMITS = ("ATTRIBUTE", "EVENT_ATTRIBUTE", "LINK_ATTRIBUTE", "SPAN_ATTRIBUTE", "SPAN_EVENT", "SPAN_LINK")
_OF_QUEUE = ("MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE", "SCHEDULE_DELAY", "EXPORT_TIMEOUT")

_RULES = (
    _Rule(ENDPOINTS, _is_url, "must be a URL, http:// or https://; it is left out"),
    _Rule(PROTOCOLS, _is_among({HTTP, GRPC}), f"must be {HTTP} or {GRPC}; {HTTP} is taken"),
    _Rule(_otlp("COMPRESSION"), _is_among({"none", "gzip", "deflate"}), "must be none, gzip or deflate; none is taken"),
    _Rule(_otlp("TIMEOUT"), _is_from(0.001, 86400), "must be a number of seconds up to 86400; 10 is taken"),
    _Rule(
        _HEADERS,
        _are_headers,
        'must be name=value,name=value, printable ASCII also once it is decoded, with " ; \\ percent-encoded;'
        " it is left out",
    ),
    _Rule(("OTEL_RESOURCE_ATTRIBUTES",), _are_pairs, "must be name=value,name=value; it is left out"),
    _Rule(
        ("OTEL_TRACES_SAMPLER",), _is_among(_SAMPLERS), f"must be one of {', '.join(_SAMPLERS)}; the default is taken"
    ),
    _Rule(("OTEL_TRACES_EXPORTER",), _is_among({"otlp", "none"}), "must be otlp or none; otlp is taken"),
    _Rule(("OTEL_SDK_DISABLED",), _is_among({"true", "false"}), "must be true or false; false is taken"),
    _Rule(("OTEL_PROPAGATORS",), _are_known, "signals carry W3C trace contexts (tracecontext), and those alone"),
    _Rule([f"OTEL_BSP_{name}" for name in _OF_QUEUE], _is_positive, "must be a positive number; the default is taken"),
    _Rule(
        [
            *(f"OTEL_{name}_COUNT_LIMIT" for name in _COUNT_LIMITS),
            "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
            "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        ],
        _is_count,
        "must be a number; the default is taken",
    ),
)
_RATIO = _Rule(("OTEL_TRACES_SAMPLER_ARG",), _is_from(0, 1), "must be a number from 0 to 1; 1 is taken")
