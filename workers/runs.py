"""Runs: deliveries of an ordering group that a deliverer makes one after the other, for the message of the first one.

message --> attempt --it succeeds, a place is free--> its end begins the next delivery's attempt --> attempt --> ...
               | it fails, the run is long enough, others wait for places, or the next one needs admission
               v
            its end advances the group: a message of its own stands for the next delivery
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, nullcontext
from typing import NamedTuple

import structlog

from broker.deliveries import Outcome
from broker.errors import StoreRefusal, StoreUnavailable
from broker.store.deliveries.attempts import Claimed, Ended
from broker.store.deliveries.claiming import Answer, AttemptStore
from broker.store.deliveries.ending import can_hand_on
from broker.store.postgres.database import DataError
from broker.topology import ATTEMPT
from workers.exclusion import Exclusion
from workers.lanes import FastLane
from workers.outcomes import Outcomes
from workers.places import Place, Places

LONGEST = 1.0
"""Seconds after which a run begins no further attempt: its message is settled, and any deliverer may go on."""
_NO_ANSWER = frozenset({Outcome.TIMED_OUT, Outcome.UNREACHABLE})

Make = Callable[[Place, AsyncExitStack], Awaitable[Ended | Answer]]
"""Makes an attempt that has a place; how it ended is to be stored before the stack is closed."""

log = structlog.get_logger()


class _Next(NamedTuple):
    """An attempt that was handed on, and its place."""

    claimed: Claimed
    place: Place


class Runs:
    """Makes attempts, and stores how they ended; what they are handed on to follows at once.

    A run has one place at a time, and goes on only while nobody waits for a place.

    Args:
        attempts: Where attempts are handed on.
        places: The places.
        fast_lane: Told how long attempts take.
        outcomes: Stores how they ended.
        under_way: Which deliveries this process works on.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        attempts: AttemptStore,
        places: Places,
        fast_lane: FastLane,
        outcomes: Outcomes,
        under_way: Exclusion,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._attempts = attempts
        self._places = places
        self._fast_lane = fast_lane
        self._outcomes = outcomes
        self._under_way = under_way
        self._clock = clock

    async def run(
        self,
        queue: str,
        place: Place,
        make: Make,
        follow: Callable[[Claimed], Make],
        claim: Callable[[Claimed], Make],
        *,
        held: str,
    ) -> Ended | Answer:
        """Make an attempt and those that follow on it; return how the first one ended, or why it was not made.

        Args:
            queue: The queue of its message.
            place: Its place, which is given back.
            held: The delivery that this task holds already: if it is redriven, the run may come to it again.
            make: Makes it.
            follow: Returns what makes one that was handed on.
            claim: The same, if another task of this process had to do with the delivery, and may have taken the attempt
                for lost: it is claimed again.

        Raises:
            StoreUnavailable: An attempt was handed on, perhaps, and is not made.
        """
        end = self._clock() + LONGEST
        first, following = await self._make(queue, place, make, end)
        while following is not None:
            delivery_id = following.claimed.due.delivery_id
            if delivery_id == held:
                _, following = await self._make(queue, following.place, follow(following.claimed), end)
                continue
            again = claim if delivery_id in self._under_way else follow
            async with self._under_way.hold(delivery_id):
                _, following = await self._make(queue, following.place, again(following.claimed), end)
        return first

    async def _make(self, queue: str, place: Place, make: Make, end: float) -> tuple[Ended | Answer, _Next | None]:
        ended, following = None, None
        async with AsyncExitStack() as until_stored:
            subscription_id = place.route.subscription_id
            try:
                with self._fast_lane.occupy(subscription_id) if queue == ATTEMPT else nullcontext():
                    ended = await make(place, until_stored)
            finally:  # not only once the outcome is stored, which holds up no receiver
                if isinstance(ended, Ended):
                    answered = ended.result.outcome not in _NO_ANSWER
                    self._places.give_back(place, called=ended.duration.total_seconds(), answered=answered)
                else:
                    self._places.give_back(place)
            if isinstance(ended, Ended):
                self._fast_lane.note(subscription_id, ended.duration)
                following = await self._end(queue, place, ended, end)
        return ended, following

    async def _end(self, queue: str, place: Place, ended: Ended, end: float) -> _Next | None:
        """Store how an attempt ended; return what it was handed on to."""
        may_go_on = can_hand_on(ended) and self._clock() < end
        if may_go_on and not (queue == ATTEMPT and self._fast_lane.refuses(place.route.subscription_id)):
            another = self._places.retake(queue, place.route)
            if another is not None:
                return await self._hand_on(ended, another)
        await self._outcomes.store(ended)
        return None

    async def _hand_on(self, ended: Ended, place: Place) -> _Next | None:
        claimed = None
        try:
            answer = await self._attempts.hand_on(ended)
            if isinstance(answer, Claimed):
                claimed = answer
                return _Next(claimed, place)
            await self._outcomes.let_go_on(ended, answer)
        except (StoreUnavailable, DataError) as error:
            await self._outcomes.store(ended)
            if not isinstance(error, StoreRefusal | DataError):
                raise
        finally:
            if claimed is None:
                self._places.give_back(place)
        return None
