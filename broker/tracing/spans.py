"""Spans: of requests, of numbering, publishing and recording signals, and of attempts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Any, cast

from yarl import URL

from broker.tracing.contexts import TraceContext, numbers

CHOSEN_ID: ContextVar[int | None] = ContextVar("CHOSEN_ID", default=None)
"""The id of the span that is started, if it is not a random one."""

_RABBITMQ = {"messaging.system": "rabbitmq"}
_PUBLISHING = {**_RABBITMQ, "messaging.operation.type": "send", "messaging.operation.name": "publish"}
_CALLING = {**_RABBITMQ, "messaging.operation.type": "process", "messaging.operation.name": "call"}
_RECORDING = {**_RABBITMQ, "messaging.operation.type": "process", "messaging.operation.name": "record"}

_Attributes = Mapping[str, str | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt, or one of its steps, as far as its span tells.

    Args:
        signal_id: The signal.
        delivery_id: The delivery.
        message_id: What receivers know repeats by.
        number: Which attempt, from 1.
        is_retry: Whether the attempt before it is sure to have come as far, and is linked.
        context: What caused it: the publishing of the signal.
    """

    signal_id: int
    delivery_id: str
    message_id: str
    number: int
    is_retry: bool
    context: TraceContext | None

    @property
    def span_id(self) -> int | None:
        """The id of its span; None: a random one.

        It is derived, so that the next attempt, which another process may make, can link to it and nothing is stored.
        """
        return self._id(self.number)

    @property
    def linked_id(self) -> int | None:
        """The id of the span of the attempt before it, if it is a retry."""
        return self._id(self.number - 1) if self.is_retry else None

    @property
    def attributes(self) -> dict[str, str | int]:
        """What any attempt's span tells."""
        return {"signal_broker.delivery.id": self.delivery_id, "signal_broker.attempt": self.number}

    def _id(self, number: int) -> int | None:
        if self.context is None:
            return None
        seed = f"{self.context.traceparent}/{self.message_id}/{number}"
        return int.from_bytes(blake2b(seed.encode(), digest_size=8).digest()) or 1


class Span:
    """A span that goes on, or the place of one that the sampler has left out.

    Args:
        context: The trace context of what it causes.
        span: OpenTelemetry's.
    """

    def __init__(self, context: TraceContext, span: Any) -> None:
        self.context = context
        self._span = span

    def answered(self, status: int) -> None:
        """Note the HTTP *status* of the answer; from 500 on, the span has failed."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self.failed(str(status))

    def attempted(self, outcome: str, status: int | None = None, *, succeeded: bool) -> None:
        """Note whether an attempt *succeeded*, and the HTTP *status* of the receiver's answer, if there was one."""
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
        if not succeeded:
            self.failed(outcome if status is None else str(status))

    def as_current(self) -> AbstractContextManager[Any]:
        """Return a context manager in which spans that others start by OpenTelemetry are children of this one."""
        api = _api()
        span = self._span if self._span.is_recording() else api.NonRecordingSpan(_parse(self.context))
        return cast(
            AbstractContextManager[Any], api.use_span(span, record_exception=False, set_status_on_exception=False)
        )

    def failed(self, kind: str) -> None:
        """Note that it failed by an error of *kind*."""
        self._span.set_attribute("error.type", kind)
        self._span.set_status(_api().StatusCode.ERROR)


class Tracer:
    """Makes spans.

    Args:
        tracer: OpenTelemetry's, whose spans take the `CHOSEN_ID`.
        of_batches: That of spans with hundreds of links, each of which takes as much memory as hundreds of others.
    """

    def __init__(self, tracer: Any, of_batches: Any) -> None:
        self._tracer = tracer
        self._of_batches = of_batches

    @contextmanager
    def serving(self, route: str, method: str, context: TraceContext | None) -> Iterator[Span]:
        """Yield the span of a request by *method* to *route*, a child of the caller's, if it sent a *context*."""
        attributes = {"http.request.method": method, "http.route": route}
        with self._span(f"{method} {route}", "SERVER", context, attributes) as span:
            yield span

    @contextmanager
    def numbering(self, context: TraceContext) -> Iterator[None]:
        """Span the numbering of a throw, from waiting for the batch before it to the answer."""
        with self._span("signal_broker.number", "INTERNAL", context, {}):
            yield

    @contextmanager
    def publishing(self, queue: str, signal_id: int, context: TraceContext | None) -> Iterator[Span]:
        """Yield the span of publishing a signal to *queue*, from the first try to the confirm."""
        attributes = _PUBLISHING | {"messaging.destination.name": queue, "messaging.message.id": str(signal_id)}
        with self._span(f"publish {queue}", "PRODUCER", context, attributes) as span:
            yield span

    @contextmanager
    def processing(self, queue: str, contexts: Sequence[TraceContext | None]) -> Iterator[None]:
        """Span the work on a batch of messages of *queue*, linked to what published them, unless none is sampled."""
        api = _api()
        published = (_parse(TraceContext(one.traceparent)) for one in contexts if one is not None)
        links = [api.Link(one) for one in published if one is not None and one.trace_flags.sampled]
        if not links:
            yield
            return
        attributes: dict[str, str | int] = {**_RECORDING, "messaging.destination.name": queue}
        attributes["messaging.batch.message_count"] = len(contexts)
        with self._span(f"record {queue}", "CONSUMER", None, attributes, links, tracer=self._of_batches):
            yield

    @contextmanager
    def calling(self, method: str, url: str, attempt: Attempt) -> Iterator[Span]:
        """Yield the span of an *attempt* at a webhook; of its URL, host and port alone are told."""
        attributes = attempt.attributes | {"http.request.method": method}
        with suppress(ValueError):  # the client answers a URL that is none
            to = URL(url)
            attributes |= {"server.address": to.host or "", "server.port": to.port or 0}
        if attempt.is_retry:
            attributes["http.request.resend_count"] = attempt.number - 1
        with self._attempt(method, "CLIENT", attempt, attributes) as span:
            yield span

    @contextmanager
    def sending(self, queue: str, attempt: Attempt) -> Iterator[Span]:
        """Yield the span of an *attempt* at a queue, which goes on until RabbitMQ has confirmed the message."""
        with self._attempt(f"publish {queue}", "PRODUCER", attempt, _of_message(_PUBLISHING, queue, attempt)) as span:
            yield span

    @contextmanager
    def handling(self, queue: str, handler: str, attempt: Attempt) -> Iterator[Span]:
        """Yield the span of an *attempt* at a *handler* of the app with *queue*; within it, it is the current span."""
        attributes = _of_message(_CALLING, queue, attempt) | {"code.function.name": handler}
        with self._attempt(f"call {handler}", "CONSUMER", attempt, attributes) as span, span.as_current():
            yield span

    @contextmanager
    def _attempt(self, name: str, kind: str, attempt: Attempt, attributes: _Attributes) -> Iterator[Span]:
        links: list[Any] = []
        parent = None if attempt.context is None else _parse(attempt.context)
        if attempt.linked_id is not None and parent is not None:
            api = _api()
            before = api.SpanContext(parent.trace_id, attempt.linked_id, is_remote=True, trace_flags=parent.trace_flags)
            links.append(api.Link(before))
        with self._span(name, kind, attempt.context, attributes, links, span_id=attempt.span_id) as span:
            yield span

    @contextmanager
    def _span(
        self,
        name: str,
        kind: str,
        context: TraceContext | None,
        attributes: _Attributes,
        links: Sequence[Any] = (),
        *,
        span_id: int | None = None,
        tracer: Any = None,
    ) -> Iterator[Span]:
        api = _api()
        parent = None if context is None else _parse(context)
        within = api.set_span_in_context(api.NonRecordingSpan(parent or api.INVALID_SPAN_CONTEXT))
        chosen = CHOSEN_ID.set(span_id)
        started = (tracer or self._tracer).start_span(name, within, getattr(api.SpanKind, kind), attributes, links)
        CHOSEN_ID.reset(chosen)
        if parent is not None and context is not None and not started.is_recording():
            yield Span(context, started)  # left out: what it causes belongs to the caller's
            return
        state = None if parent is None or context is None else context.tracestate
        span = Span(TraceContext(_show(started.get_span_context()), state), started)
        try:
            yield span
        except BaseException as error:
            span.failed(type(error).__name__)
            raise
        finally:
            started.end()


def _of_message(operation: _Attributes, queue: str, attempt: Attempt) -> dict[str, str | int]:
    of = {"messaging.destination.name": queue, "messaging.message.id": str(attempt.signal_id)}
    return {**operation, **of, **attempt.attributes}


@cache
def _api() -> Any:
    from opentelemetry import trace  # noqa: PLC0415

    return trace


def _parse(context: TraceContext) -> Any:
    """Return OpenTelemetry's form of *context*; None if it is none."""
    found = numbers(context.traceparent)
    if found is None:
        return None
    api, (trace, span, flags) = _api(), found
    state = None if context.tracestate is None else api.TraceState.from_header([context.tracestate])
    return api.SpanContext(trace, span, is_remote=True, trace_flags=api.TraceFlags(flags), trace_state=state)


def _show(context: Any) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 3:02x}"
