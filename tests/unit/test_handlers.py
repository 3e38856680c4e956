"""What a function needs to be a handler, and what becomes of a call."""

from __future__ import annotations

import asyncio
import functools
import threading
from datetime import timedelta
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from broker.deliveries import Outcome
from broker.errors import InvalidField
from broker.retries import DEFAULT_SCHEDULE
from broker.subscriptions import HeadOfLine
from broker.targets import Kind
from broker.tracing import TraceContext
from tests.support import builders
from workers.handlers import GiveUp, Handlers, ReceivedSignal, TryLater, WrongHandler
from workers.handlers.calling import receive


class Paid(BaseModel):
    order: int
    currency: Annotated[str, Field(min_length=3, max_length=3)] = "EUR"


@pytest.fixture
def handlers():
    return Handlers("billing")


async def outcome(handlers, payload=None, name="order.paid", **scope):
    """Return what became of the one call."""
    results = await handlers.try_out(name, payload, **scope)
    (result,) = results.values()
    return result


async def test_a_payload_arrives_as_the_type_that_the_function_asks_for(handlers):
    got = []

    @handlers.on("order.paid")
    async def book(payload: Paid) -> None:
        got.append(payload)

    assert (await outcome(handlers, {"order": 7})).outcome is Outcome.SUCCEEDED
    assert got == [Paid(order=7, currency="EUR")]


@pytest.mark.parametrize("annotation", [Any, None])
async def test_a_payload_without_a_type_arrives_as_plain_json(handlers, annotation):
    got = []

    async def book(payload):
        got.append(payload)

    if annotation is not None:
        book.__annotations__["payload"] = annotation
    handlers.on("order.paid")(book)
    payload = {"order": 12345678901234567890123, "lines": [1.5, None, "é"]}
    assert (await outcome(handlers, payload)).outcome is Outcome.SUCCEEDED
    assert got == [payload]


async def test_what_is_wrong_with_a_payload_is_told_without_repeating_it(handlers):
    @handlers.on("order.paid")
    async def book(payload: Paid) -> None:
        raise AssertionError("it must not be called")

    result = await outcome(handlers, {"order": "sesame", "currency": "E"})
    assert result.outcome is Outcome.REFUSED
    assert result.error == (
        "the payload is invalid: order: Input should be a valid integer, "
        "unable to parse string as an integer; currency: String should have at least 3 characters"
    )


async def test_the_first_three_things_that_are_wrong_with_a_payload_are_told(handlers):
    @handlers.on("order.paid")
    async def count(payload: list[int]) -> None:
        raise AssertionError("it must not be called")

    result = await outcome(handlers, ["a", None, "b", {}, 1, "c"])
    assert result.error == (
        "the payload is invalid: 0: Input should be a valid integer, unable to parse string as an integer;"
        " 1: Input should be a valid integer; 2: Input should be a valid integer, unable to parse string as an integer"
        " (and 2 more)"
    )


async def test_a_second_parameter_gets_the_signal(handlers):
    got = []

    @handlers.on("order.*", tenant_id="acme")
    async def book(_payload: Any, signal: ReceivedSignal) -> None:
        got.append(signal)

    await outcome(handlers, {"order": 7}, tenant_id="acme", attempt=3)
    (signal,) = got
    assert (signal.name, signal.scope, signal.tenant_id, signal.attempt) == ("order.paid", "tenant", "acme", 3)
    assert (signal.delivery_id, signal.raw) == ("1-1", b'{"order":7}')
    assert signal.variables == {"order": {"value": 7, "type": "Integer", "valueInfo": {}}}
    assert signal.headers == {"Signal-Broker-Hops": "1", "baggage": "signal-broker-hops=1"}


def test_the_headers_to_throw_with_continue_the_trace_and_count_on():
    thrown = builders.signal(trace=TraceContext(f"00-{'a' * 32}-{'b' * 16}-01", "a=1"), hops=3)
    assert receive(thrown, delivery_id="1-1", attempt=1).headers == {
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
        "tracestate": "a=1",
        "Signal-Broker-Hops": "4",
        "baggage": "signal-broker-hops=4",
    }


async def test_a_plain_function_runs_in_a_thread(handlers):
    got = []

    @handlers.on("order.paid")
    def book(payload: Paid, signal: ReceivedSignal) -> None:
        got.append((threading.current_thread() is threading.main_thread(), payload.order, signal.name))

    assert (await outcome(handlers, {"order": 7})).outcome is Outcome.SUCCEEDED
    assert got == [(False, 7, "order.paid")]


def raising(error, *, threaded):
    if threaded:

        def book(_payload):
            raise error
    else:

        async def book(_payload):
            raise error

    return book


@pytest.mark.slow
@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize(
    ("error", "expected", "text"),
    [
        (ValueError("no such order\nat all"), Outcome.REFUSED, "ValueError: no such order"),
        (KeyError("order"), Outcome.REFUSED, "KeyError: 'order'"),
        (ValueError("\x1b[31mred"), Outcome.REFUSED, "ValueError:  [31mred"),
        (SystemExit(3), Outcome.REFUSED, "SystemExit: 3"),
        (GeneratorExit(), Outcome.REFUSED, "GeneratorExit"),
        (BaseExceptionGroup("two", [SystemExit()]), Outcome.REFUSED, "BaseExceptionGroup: two (1 sub-exception)"),
        (asyncio.CancelledError(), Outcome.REFUSED, "asyncio.CancelledError: it cancelled itself"),
        (TimeoutError(), Outcome.REFUSED, "TimeoutError"),
        (StopIteration(), Outcome.REFUSED, "RuntimeError: coroutine raised StopIteration"),
        (GiveUp("the order was cancelled"), Outcome.GIVEN_UP, "the order was cancelled"),
        (GiveUp(), Outcome.GIVEN_UP, "GiveUp"),
        (TryLater(timedelta(minutes=5), "the ledger is closed"), Outcome.THROTTLED, "the ledger is closed"),
        (TryLater(timedelta(minutes=5)), Outcome.THROTTLED, "not before 0:05:00 have passed"),
    ],
    ids=repr,
)
async def test_what_a_function_raises_is_what_becomes_of_the_attempt(handlers, error, expected, text, threaded):
    handlers.on("order.paid")(raising(error, threaded=threaded))
    result = await outcome(handlers)
    assert (result.outcome, result.error) == (expected, text)
    assert result.retry_after == (timedelta(minutes=5) if expected is Outcome.THROTTLED else None)


async def test_a_keyboard_interrupt_of_a_thread_s_own_is_a_failure_of_its_call_alone(handlers):
    """Signals of the process interrupt its main thread, which runs coroutines only."""
    handlers.on("order.paid")(raising(KeyboardInterrupt(), threaded=True))
    result = await outcome(handlers)
    assert (result.outcome, result.error) == (Outcome.REFUSED, "KeyboardInterrupt")


async def test_a_validation_error_of_the_function_s_own_is_not_taken_for_a_wrong_payload(handlers):
    @handlers.on("order.paid")
    async def book(_payload: Any) -> None:
        Paid.model_validate({})

    assert (await outcome(handlers)).error.startswith(
        "pydantic_core._pydantic_core.ValidationError: 1 validation error"
    )


async def test_a_call_that_takes_too_long_is_cancelled(handlers):
    ends = []

    @handlers.on("order.paid", timeout=0.05)
    async def book(_payload: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cleaned up")

    result = await outcome(handlers)
    assert (result.outcome, result.error, ends) == (Outcome.TIMED_OUT, "not done within 0.05 s", ["cleaned up"])


@pytest.mark.slow
async def test_a_call_that_does_not_listen_to_its_cancellation_holds_up_nobody(handlers):
    release = asyncio.Event()

    @handlers.on("order.paid", timeout=0.05)
    async def book(_payload: Any) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async with asyncio.timeout(5):
        assert (await outcome(handlers)).outcome is Outcome.TIMED_OUT
    release.set()


async def test_a_thread_that_takes_too_long_has_failed_and_is_left_alone(handlers):
    release = threading.Event()

    @handlers.on("order.paid", timeout=0.05)
    def book(_payload: Any) -> None:
        release.wait(10)

    assert (await outcome(handlers)).outcome is Outcome.TIMED_OUT
    release.set()


async def test_a_plain_function_that_returns_a_coroutine_has_not_done_its_work(handlers):
    async def work():
        raise AssertionError("nobody awaits it")

    coroutine = work()
    handlers.on("order.paid", name="book")(lambda _payload: coroutine)
    result = await outcome(handlers)
    coroutine.close()
    assert result.error == "TypeError: it returned an awaitable: declare it with `async def`"


async def test_a_partial_and_a_callable_object_are_functions_too(handlers):
    got = []

    async def book(ledger, payload: Paid):
        got.append((ledger, payload.order))

    class Booking:
        async def __call__(self, payload: Paid) -> None:
            got.append(("object", payload.order))

    handlers.on("order.paid", name="partial")(functools.partial(book, "partial"))
    handlers.on("order.paid", name="object")(Booking())
    await handlers.try_out("order.paid", {"order": 7})
    assert got == [("partial", 7), ("object", 7)]


SCOPES = {
    "everybody": {},
    "acme": {"tenant_id": "acme"},
    "nobody's": {"without_tenant_id": True},
    "e": {"execution_id": "e"},
}


@pytest.mark.parametrize(
    ("thrown", "called"),
    [
        ("everybody", {"any", "acme", "waiting"}),
        ("acme", {"acme"}),
        ("nobody's", {"any", "waiting"}),
        ("e", {"waiting"}),
    ],
)
async def test_those_are_called_whom_the_signal_would_reach(handlers, thrown, called):
    def add(name, pattern, **spec):
        handlers.on(pattern, name=name, **spec)(lambda _payload: None)

    add("any", "order.#")
    add("acme", "order.paid", tenant_id="acme")
    add("waiting", "order.paid", execution_id="e")
    add("dear", "order.paid", filter={"total": {"operator": "NUM_GT", "value": "100"}})
    add("other", "order.sent")
    assert set(await handlers.try_out("order.paid", {"total": 5}, **SCOPES[thrown])) == called


async def test_a_signal_that_nobody_can_throw_cannot_be_tried_out(handlers):
    with pytest.raises(InvalidField, match="/name"):
        await handlers.try_out("a\nb")


def test_terms_are_those_of_a_subscription(handlers):
    @handlers.on(
        "order.*", tenant_id="acme", execution_id="e", once=True, retry=[1, 5], max_attempts=4, concurrency=2,
        max_per_second=0.5, timeout=10, name="book.it",
    )  # fmt: skip
    def book(_payload):
        """Books."""

    (handler,) = handlers
    spec = handler.of("billing")
    assert (spec.target.kind, spec.target.address) == (Kind.HANDLER, "billing/book.it")
    assert (spec.target.app, spec.target.handler) == ("billing", "book.it")
    assert (spec.name, spec.tenant_id, spec.execution_id, spec.once) == ("order.*", "acme", "e", True)
    assert spec.schedule == (timedelta(seconds=1), timedelta(seconds=5), timedelta(seconds=5))
    assert (spec.max_in_flight, spec.max_per_second, spec.timeout) == (2, 0.5, timedelta(seconds=10))
    assert book(None) is None, "it is the function that it was"


def test_a_handler_may_be_ordered(handlers):
    handlers.on("order.*", ordered=True, head_of_line="skip")(raising(ValueError(), threaded=True))
    (handler,) = handlers
    assert (handler.of("billing").ordered, handler.of("billing").head_of_line) == (True, HeadOfLine.SKIP)


def test_terms_that_are_not_given_are_those_of_any_subscription(handlers):
    handlers.on("order.paid")(raising(ValueError(), threaded=True))
    (handler,) = handlers
    spec = handler.of("billing")
    assert (spec.schedule, spec.max_in_flight, spec.filter) == (DEFAULT_SCHEDULE, None, None)
    assert spec.timeout == timedelta(seconds=30)


@pytest.mark.parametrize(
    ("signal", "spec", "told"),
    [
        ("", {}, "signal: String should have at least 1 character"),
        ("a\nb", {}, "signal: contains the character U+000A"),
        ("a" * 256, {}, "signal: is 256 bytes long"),
        ("a", {"tenant_id": ""}, "tenant_id: String should have at least 1 character"),
        ("a", {"execution_id": "\0"}, "execution_id: contains the character U+0000"),
        ("a", {"retry": [1, -1]}, "retry.1: Input should be greater than or equal to 0"),
        ("a", {"retry": 5}, "retry: "),
        ("a", {"retry": "15"}, "retry: "),
        ("a", {"retry": [1] * 51}, "retry: "),
        ("a", {"max_attempts": 0}, "max_attempts: Input should be greater than or equal to 1"),
        ("a", {"ordered": True, "once": True}, "ordered: cannot be given together with once"),
        ("a", {"concurrency": True}, "concurrency: Input should be a valid integer"),
        ("a", {"max_per_second": 0}, "max_per_second: "),
        ("a", {"timeout": 901}, "timeout: Input should be less than or equal to 900"),
        ("a", {"timeout": None}, "timeout: "),
        ("a", {"once": 1}, "once: "),
        ("a", {"filter": {"x": {"operator": "NOPE"}}}, "filter.x"),
        ("a", {"name": "a/b"}, "name: 'a/b' is not 1 to 100 of"),
    ],
)
def test_wrong_terms_are_an_error_at_import_that_names_the_function(handlers, signal, spec, told):
    with pytest.raises(WrongHandler) as raised:
        handlers.on(signal, **spec)(raising(ValueError(), threaded=False))
    assert str(raised.value).startswith(f"handler {__name__}.raising.<locals>.book: {told}")
    assert not list(handlers)


async def _generator(_payload):
    yield 1


def _unknown_type(payload: Missing):  # noqa: F821
    """Take something that nobody knows."""


def _no_type(payload: threading.Lock):
    """Take something that no payload can be."""


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (5, "is not a function"),
        (Paid, "is not a function"),
        (_generator, "is a generator"),
        (lambda: None, "must take the payload"),
        (lambda *, _payload: None, "must take the payload"),
        (lambda _payload, _signal, _database: None, "`_database` has no default"),
        (lambda _payload, *, _database: None, "`_database` has no default"),
        (_unknown_type, "its module does not define the type of its payload: name 'Missing' is not defined"),
        (_no_type, "no payload can be validated into 'threading.Lock'"),
    ],
)
def test_what_cannot_be_a_handler_is_told_at_import(handlers, function, told):
    with pytest.raises(WrongHandler, match=r"^handler .*: ") as raised:
        handlers.on("a", name="book")(function)
    assert told in str(raised.value)


def test_further_parameters_with_defaults_are_the_function_s_own_affair(handlers):
    handlers.on("a", name="book")(lambda _payload, _signal, _database=None, *, _retries=3: None)
    assert [handler.name for handler in handlers] == ["book"]


def test_two_handlers_of_one_name_are_an_error(handlers):
    handlers.on("a")(raising(ValueError(), threaded=False))
    with pytest.raises(WrongHandler, match="there is a handler 'book' already"):
        handlers.on("b")(raising(ValueError(), threaded=True))


def test_a_decorator_without_a_name_is_an_error(handlers):
    with pytest.raises(WrongHandler, match=r"_generator: the decorator needs a signal name"):
        handlers.on(_generator)


@pytest.mark.parametrize("name", ["", "a/b", "a b", "é", "a" * 101, "billing.dead"])
def test_an_app_s_name_has_to_fit_into_the_name_of_a_queue(name):
    with pytest.raises(WrongHandler, match="the app's name"):
        Handlers(name)
