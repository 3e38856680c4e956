"""The caller: makes the calls of attempts, one of each step, as far as they may be made when their turns have come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from broker.admission import Admitted
from broker.circuits import asked_pause, is_up
from broker.deliveries import DeliveryState, DueAttempt, Outcome, Reason, Result, Step
from broker.errors import StoreUnavailable
from broker.operations.attempts import report_attempt
from broker.reasons import named_reason_of
from broker.retries import judge
from broker.store.deliveries.attempts import Claimed, Ended
from broker.store.deliveries.circuits import TargetKey
from broker.store.deliveries.claiming import Answer, AttemptStore
from broker.store.deliveries.surplus import Route
from broker.store.postgres.database import DataError
from broker.targets import Kind, origin_of
from workers.calls import Calls
from workers.couriers import Courier

log = structlog.get_logger()


class Caller:
    """Makes attempts that were claimed.

    A call is made right after its attempt was claimed. One that is not is made only if the store says that it still may
    be: that of a later step, and one that had to wait for its host's turn for long, or for a call that failed. So is
    one whose target has just asked for no requests: it waits until that is stored.

    Args:
        attempts: Where attempts are claimed.
        couriers: What delivers, by the kind of target.
        calls: The turns at each host.
        timeout: How long a call may take if its subscription has no timeout of its own.
    """

    def __init__(
        self, attempts: AttemptStore, couriers: Mapping[Kind, Courier], *, calls: Calls, timeout: timedelta
    ) -> None:
        self._attempts = attempts
        self._couriers = couriers
        self._calls = calls
        self._timeout = timeout
        self._asking: dict[TargetKey, asyncio.Event] = {}
        """Targets that have asked for a pause; the event says that it is stored."""

    async def make(self, claimed: Claimed, route: Route, *, until_stored: AsyncExitStack) -> Ended | Answer:
        """Make the attempt, and return how it ended; that is to be stored before *until_stored* is closed.

        Until then nobody else gets the turn of a call that met a target that is down: who does has to know of it.

        If it may not be made any more when its turn has come, that answer is returned, and it has not taken place. If a
        later step may not be made, or its turn does not come, the attempt ends with the steps before it; the delivery
        is due again at once, and continues with that step as soon as that may be made.

        Raises:
            TimeoutError: The first turn did not come. The attempt has not taken place, and is still due.
        """
        answer, step = await self._call_in_turn(claimed, route, until_stored)
        if step is None or not isinstance(answer, Claimed):
            return answer
        first = last = answer
        steps, later, in_full = [step], list[Admitted](), True
        started_at = datetime.now(UTC) - step.duration
        while steps[-1].result.outcome is Outcome.SUCCEEDED and last.step + 1 < len(last.subscription.spec.targets):
            await self._note(first.due, steps)
            following, step = await self._follow(replace(last, step=last.step + 1, later=True), route, until_stored)
            if following is None or step is None:
                in_full = False
                break
            last = following
            steps.append(step)
            later.append(last.admitted)
        result = steps[-1].result
        attempt = last.due.attempt - last.uncounted
        state, pause, reason = judge(result, last.subscription.spec.schedule, attempt) if in_full else _CUT_SHORT
        ended = Ended(
            due=first.due,
            result=result,
            state=state,
            pause=pause,
            started_at=started_at,
            duration=sum((step.duration for step in steps), timedelta()),
            reason=reason,
            address=steps[-1].address,
            in_group=first.in_group,
            admitted=first.admitted,
            steps=tuple(steps) if first.subscription.spec.in_steps else (),
            later=tuple(later),
            uncounted=not in_full,
        )
        report_attempt(ended, last.target.kind, thrown_at=last.signal.created_at)
        return ended

    async def _follow(
        self, claimed: Claimed, route: Route, until_stored: AsyncExitStack
    ) -> tuple[Claimed | None, Step | None]:
        """Make a later step, and return the attempt as it was then; None if it may not be made, or not now."""
        try:
            answer, step = await self._call_in_turn(claimed, route, until_stored, later=True)
        except TimeoutError:
            return None, None
        return (answer if isinstance(answer, Claimed) else None), step

    async def _call_in_turn(
        self, claimed: Claimed, route: Route, until_stored: AsyncExitStack, *, later: bool = False
    ) -> tuple[Answer, Step | None]:
        """Make the step when it is its host's turn; return what was claimed by then, and the step, if it was made.

        Raises:
            TimeoutError: The turn did not come.
        """
        while True:
            host = _host(claimed)
            async with AsyncExitStack() as turn:
                try:
                    waited = await turn.enter_async_context(self._calls.at(host, route))
                except TimeoutError:
                    if not later:
                        await self._attempts.take_back(claimed)
                    raise
                pause = self._asking.get(_key(claimed))
                if pause is not None:
                    await pause.wait()
                if later or waited or pause is not None:
                    answer = await (self._go_on(claimed) if later else self._attempts.claim_again(claimed))
                    if not isinstance(answer, Claimed) or answer.subscription.until is not None:
                        return answer, None
                    claimed = answer
                if _host(claimed) == host:
                    step = await self._call(claimed)
                    if asked_pause(step.result) is not None:
                        self._note_pause(_key(claimed), until_stored)
                    if is_up(step.result) is False:
                        until_stored.push_async_callback(turn.pop_all().aclose)
                    return claimed, step
            # Its subscription has got another target meanwhile, whose turn it has to wait for.

    def _note_pause(self, key: TargetKey, until_stored: AsyncExitStack) -> None:
        pause = self._asking.setdefault(key, asyncio.Event())

        def end() -> None:
            self._asking.pop(key, None)
            pause.set()

        until_stored.callback(end)

    async def _go_on(self, claimed: Claimed) -> Claimed | None:
        """Ask whether the step may be made; while PostgreSQL is away, the attempt goes on."""
        try:
            return await self._attempts.go_on(claimed)
        except StoreUnavailable as error:
            log.warning("step.unasked", delivery_id=claimed.due.delivery_id, error=str(error))
            return claimed

    async def _note(self, due: DueAttempt, steps: Sequence[Step]) -> None:
        """Note the steps made so far, so that a crash repeats none of them; without PostgreSQL the attempt goes on."""
        try:
            await self._attempts.note_steps(due, steps)
        except (StoreUnavailable, DataError) as error:
            log.warning("steps.unnoted", delivery_id=due.delivery_id, error=str(error))

    async def _call(self, claimed: Claimed) -> Step:
        target, start, started_at = claimed.target, time.perf_counter(), datetime.now(UTC)
        try:
            result = await self._couriers[target.kind].deliver(
                claimed, timeout=claimed.subscription.spec.timeout or self._timeout
            )
        except Exception as error:
            log.exception("attempt.failed", delivery_id=claimed.due.delivery_id)
            result = Result(outcome=Outcome.FAILED, error=named_reason_of(error))
        if result.outcome is not Outcome.SUCCEEDED:
            self._calls.note_failure(_host(claimed))
        return Step(
            number=claimed.step + 1,
            address=target.circuit,
            result=result,
            duration=timedelta(seconds=time.perf_counter() - start),
            started_at=started_at,
        )


_CUT_SHORT = DeliveryState.PARKED, timedelta(), Reason.RETRY
"""What an attempt that ends before its last step makes of the delivery: the next one is due, and admission decides."""


def _key(claimed: Claimed) -> TargetKey:
    return TargetKey(claimed.due.subscription_id, claimed.target.circuit or "")


def _host(claimed: Claimed) -> str | None:
    url = claimed.target.circuit
    return None if url is None else origin_of(url)
