"""``/v1/cloudevents``: throwing signals as CloudEvents 1.0, in the three modes of its HTTP binding."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field, RootModel

from broker.access import Permission, Principal
from broker.cloudevents import STRUCTURED, CloudEvent, Place, make_event, read_event
from broker.errors import IdempotencyConflict, InvalidDocument, InvalidField, pointer_to
from broker.jsonparts import raw_elements
from broker.jsontext import encode, read
from broker.operations import throws
from broker.operations.answers import render_signal
from broker.operations.idempotency import make_key
from broker.operations.intake import Accepted, Intake
from broker.schemas.signals import BatchSchema, SignalRequest, SignalSchema
from broker.schemas.validation import validate
from broker.signals import Source, Throw
from broker.store.signals.signals import IdempotencyKey
from broker.tracing import TraceContext, read_context
from broker.tracing.contexts import PARENT, STATE
from gateway.answer_headers import LOCATION, REPLAYED
from gateway.answers import answer
from gateway.bodies import BODY_LIMIT, check_charset, read_body
from gateway.fields import read_list
from gateway.headers import THROW_HEADERS, read_hops, read_trace
from gateway.http_errors import BadRequest, TooLarge, UnsupportedMediaType
from gateway.native.batches import MOST, throw_each
from gateway.offloading import offload
from gateway.routes import Parameter, Route, SecuredRoute

BATCH = "application/cloudevents-batch+json"
_PREFIX = "ce-"
_MEDIA_TYPE = "application/cloudevents"
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_MEMBERS = {
    "type": "name",
    "tenantid": "tenantId",
    "executionid": "executionId",
    "partitionkey": "orderingKey",
    "expirytime": "expiresAt",
}
"""What an event's attributes are of a throw."""
_ATTRIBUTES = {f"/{member}": attribute for attribute, member in _MEMBERS.items()}


class CloudEventSchema(BaseModel):
    """A CloudEvent 1.0 in JSON. Attributes that are not described here are checked, and not kept."""

    model_config = ConfigDict(extra="allow")

    specversion: str = Field(description="The version of the specification.", json_schema_extra={"const": "1.0"})
    id: str = Field(min_length=1, description="Together with `source` the idempotency key, for 24 hours.")
    source: str = Field(
        min_length=1, description="Where the event comes from, as a URI.", json_schema_extra={"format": "uri-reference"}
    )
    type: str = Field(min_length=1, max_length=255, description="The signal's name.")
    time: str | None = Field(
        None, description="When it happened; checked, and not kept.", json_schema_extra={"format": "date-time"}
    )
    datacontenttype: str | None = Field(None, description="`application/json` if it is missing.")
    data: Any = Field(None, description="The payload.")
    data_base64: str | None = Field(None, description="The payload's bytes in base64, in place of `data`.")
    tenantid: str | None = Field(None, description="Only the subscriptions of this tenant get it.")
    executionid: str | None = Field(None, description="Only the subscriptions of this execution get it.")
    partitionkey: str | None = Field(None, description="The signal's ordering key.")
    expirytime: str | None = Field(None, description="When the signal expires.", examples=["2026-12-22T10:00:00Z"])


class CloudEventBatch(RootModel[Annotated[list[CloudEventSchema], Field(max_length=MOST)]]):
    """CloudEvents 1.0 in JSON, each accepted or refused by itself."""


class CloudEventsApi:
    """Throws signals as CloudEvents."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        return [
            SecuredRoute(
                "POST",
                "/v1/cloudevents",
                self.throw,
                "Throw CloudEvents",
                {202: SignalSchema, 200: BatchSchema},
                parameters=_PARAMETERS,
                throws=Source.NATIVE,
                permissions=(Permission.THROW,),
                bodies={STRUCTURED: CloudEventSchema, BATCH: CloudEventBatch, "application/json": None},
                headers={202: (LOCATION, REPLAYED)},
            )
        ]

    async def throw(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer 202 once the signal that the event becomes is safe; 200 with the result of each event for a batch.

        The content type tells the mode: `application/cloudevents+json` (structured),
        `application/cloudevents-batch+json` (batched), or that of the data, with the attributes in headers `ce-*`
        (binary).
        """
        kind = request.content_type if hdrs.CONTENT_TYPE in request.headers else ""
        if kind.startswith(_MEDIA_TYPE) and kind not in {STRUCTURED, BATCH}:
            raise UnsupportedMediaType(f"The body is {kind}; of CloudEvents' formats this path reads JSON.")
        if kind.endswith("json"):
            check_charset(request)
        body = await read_body(request, request.app[BODY_LIMIT])
        if kind == BATCH:
            return await self._throw_batch(request, principal, body)
        place = _header if kind != STRUCTURED else partial(pointer_to, "")
        read_one = partial(_read_structured, body) if kind == STRUCTURED else partial(_read_binary, request, body)
        wanted, key = await offload(request, lambda: _read_throw(request, principal, read_one(), place), size=len(body))
        accepted = await self._accept(principal, wanted, key, place)
        headers = {LOCATION.name: f"/v1/signals/{accepted.signal.id}"}
        if accepted.replayed:
            headers[REPLAYED.name] = "true"
        if _wants_no_body(request):
            return web.Response(status=202, headers=headers)
        signal = accepted.signal
        shown = await offload(request, lambda: render_signal(signal), size=len(signal.throw.payload))
        return answer(shown, status=202, headers=headers)

    async def _throw_batch(self, request: web.Request, principal: Principal, body: bytes) -> web.Response:
        place = partial(pointer_to, "")
        items = await offload(request, lambda: _read_items(request, principal, body), size=len(body))
        return await throw_each(
            request, items, lambda wanted, key: self._accept(principal, wanted, key, place), within=""
        )

    async def _accept(self, principal: Principal, wanted: Throw, key: IdempotencyKey | None, place: Place) -> Accepted:
        with _named_as_attributes(place):
            return await self._intake.accept(
                wanted,
                tenants=principal.tenants,
                key=key,
                check=partial(throws.check_execution, principal, wanted),
            )


_PARAMETERS = (
    Parameter(
        "Prefer",
        "`reply`, as Knative sends it, or `return=minimal` (RFC 7240): the answer 202 has no body.",
        location="header",
    ),
    *(parameter for parameter in THROW_HEADERS if parameter.name != "Idempotency-Key"),
)


def _wants_no_body(request: web.Request) -> bool:
    """Return whether the caller would take the answer's body for an event that is its reply, or wants none."""
    wishes = (wish.partition(";")[0].strip().lower() for wish in (read_list(request, "Prefer") or "").split(","))
    return not {"reply", "return=minimal"}.isdisjoint(wishes)


def _read_items(
    request: web.Request, principal: Principal, body: bytes
) -> list[tuple[Throw, IdempotencyKey | None] | Exception]:
    """Return for each event of the batch *body* its throw with its idempotency key, or why there is none."""
    batch = _parse(body)
    if not isinstance(batch, list):
        raise InvalidField("", "must be an array of events")
    if len(batch) > MOST:
        raise InvalidField("", f"has {len(batch)} events; a batch has at most {MOST}")
    del batch  # it may take many times the memory of its text
    items: list[tuple[Throw, IdempotencyKey | None] | Exception] = []
    for one in raw_elements(_without_mark(body)):
        try:
            items.append(_read_throw(request, principal, read_event(one), partial(pointer_to, "")))
        except Exception as error:  # noqa: BLE001  (it is this event's answer)
            items.append(error)
    return items


def _read_structured(body: bytes) -> CloudEvent:
    _parse(body)
    return read_event(_without_mark(body))


def _without_mark(body: bytes) -> bytes:
    return body.removeprefix(b"\xef\xbb\xbf")


def _parse(body: bytes) -> Any:
    try:
        return read(_without_mark(body).decode(), long_integers=False)
    except ValueError as error:
        raise BadRequest(f"The body is not JSON: {error}.") from error


def _read_binary(request: web.Request, body: bytes) -> CloudEvent:
    """Return the event whose attributes are in the headers of *request* and whose data is its *body*."""
    attributes: dict[str, str] = {}
    errors = []
    for field, value in request.headers.items():
        name = field.lower().removeprefix(_PREFIX)
        if not field.lower().startswith(_PREFIX):
            continue
        if name in attributes:
            errors.append(InvalidField(_header(name), "must be there once"))
        try:
            attributes[name] = _unescape(value)
        except ValueError:
            attributes[name] = value
            errors.append(InvalidField(_header(name), "is no UTF-8 once its percent-encoding is undone"))
    if "datacontenttype" in attributes:
        errors.append(InvalidField(f"{_PREFIX}datacontenttype", "is no header of an event: Content-Type says it"))
    if "data" in attributes:
        errors.append(InvalidField(_PREFIX + "data", "is no header of an event: the body is its data"))
    if errors:
        raise InvalidDocument(errors)
    mode = None if attributes else _mode_of(body)
    if mode is not None:
        problem = f"must be {mode}, since the attributes are in the body; or they must be headers {_PREFIX}*"
        raise InvalidDocument([InvalidField(hdrs.CONTENT_TYPE, problem)])
    if hdrs.CONTENT_TYPE in request.headers:
        attributes["datacontenttype"] = request.headers[hdrs.CONTENT_TYPE]
    return make_event(attributes, body, _header)


def _mode_of(body: bytes) -> str | None:
    """Return the content type of a *body* that holds an event with its attributes, or a batch of them; else None."""
    try:
        found = _parse(body)
    except BadRequest:
        return None
    if isinstance(found, list):
        return BATCH if found and _is_event(found[0]) else None
    return STRUCTURED if _is_event(found) else None


def _is_event(value: object) -> bool:
    return isinstance(value, dict) and "specversion" in value


def _header(name: str) -> str:
    return {"datacontenttype": hdrs.CONTENT_TYPE, "data": ""}.get(name, f"{_PREFIX}{name}")


def _unescape(value: str) -> str:
    """Return what a header's *value* stands for: quotes are taken off, and percent-encoding undone, once.

    Raises:
        ValueError: It is no UTF-8 then.
    """
    quoted = _QUOTED.fullmatch(value)
    plain = value if quoted is None else _ESCAPED.sub(r"\1", quoted[1])
    raw = plain.encode(errors="surrogateescape")
    return _PERCENT.sub(lambda found: bytes.fromhex(found[1].decode()), raw).decode()


def _read_throw(
    request: web.Request, principal: Principal, event: CloudEvent, place: Place
) -> tuple[Throw, IdempotencyKey | None]:
    """Return the throw by *principal* that *event* is, and its idempotency key.

    Raises:
        TooLarge: Text or bytes that fit into a body do not, once they are JSON.
    """
    limit = request.app[BODY_LIMIT]
    if len(event.payload) > limit:
        raise TooLarge(f"As JSON, the data has {len(event.payload)} bytes; at most {limit} are taken.")
    members = {member: event.attributes[name] for name, member in _MEMBERS.items() if name in event.attributes}
    with _named_as_attributes(place):
        wanted = throws.read_event(
            principal,
            validate(SignalRequest, members),
            event.payload,
            trace=_trace(request, event.attributes),
            hops=read_hops(request),
        )
    return wanted, _key(principal, event, members)


def _trace(request: web.Request, attributes: Mapping[str, str]) -> TraceContext | None:
    """Return the trace context of the request, or else of the event (Distributed Tracing extension)."""
    found = read_trace(request)
    if found is not None or PARENT not in attributes:
        return found
    return read_context(attributes[PARENT], (attributes[STATE],) if STATE in attributes else ())


def _key(principal: Principal, event: CloudEvent, members: Mapping[str, str]) -> IdempotencyKey:
    """Return the key that *event* is known by: the same source and id are the same event, in whatever mode it comes."""
    identity = hashlib.sha256(encode([event.attributes["source"], event.attributes["id"]])).hexdigest()
    data = encode(read(event.payload.decode()))  # modes may write it differently
    return make_key(f"cloudevents:{identity}", principal, encode(dict(members)) + b"\0" + data)


@contextmanager
def _named_as_attributes(place: Place) -> Iterator[None]:
    """Let errors about the members of a throw name the attributes of the event that they come from."""
    try:
        yield
    except IdempotencyConflict as error:
        raise IdempotencyConflict(
            "An event with this source and id, and other data or recipients, was thrown less than 24 hours ago."
        ) from error
    except InvalidField as error:
        raise _renamed(error, place) from error
    except InvalidDocument as error:
        raise InvalidDocument([_renamed(one, place) for one in error.errors]) from error


def _renamed(error: InvalidField, place: Callable[[str], str]) -> InvalidField:
    attribute = _ATTRIBUTES.get(error.pointer)
    return error if attribute is None else InvalidField(place(attribute), error.detail)
