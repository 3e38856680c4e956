"""Whether the ids of messages can be those of signals: only a number that the database has given out is one.

1 ... last              ... partitions that are ready          ...
given out               doubtful: a database that was          never: no signal can
                        restored knows less than the queue     be so far ahead
"""

from __future__ import annotations

from broker.messages import Undecodable
from broker.moments import show_moment
from broker.signals import MAX_AHEAD, Signal
from broker.store.signals.signals import Given, SignalStore


class NotGivenOut(Exception):
    """Raised when the database does not know the id of a signal.

    The message may be foreign, or the database may have been restored to an earlier moment, without its numbering being
    moved ahead. So the message waits; it is poison only if it alone fails, again and again.
    """


class NumberCheck:
    """Knows which numbers were given out, and asks the database only about those that are news to it.

    Numbers are given before their signals are published, and never reserved ahead, so a message that is here already
    has one that the database knows. The last number never falls.
    """

    def __init__(self, signals: SignalStore) -> None:
        self._signals = signals
        self._given: Given | None = None

    async def learn(self, highest: int) -> None:
        """Ask the database if *highest*, the highest id at hand, is not known to be given out.

        Raises:
            StoreUnavailable: It did not answer.
        """
        if self._given is None or highest > self._given.last:
            self._given = await self._signals.given()

    def check(self, signal: Signal) -> None:
        """Check that the id of *signal* was given out; `learn` was called for an id at least as high.

        Raises:
            Undecodable: It never was, or the signal comes from the far future: no gateway has written the message.
            NotGivenOut: The database does not know it.
        """
        given = self._given
        assert given is not None  # noqa: S101  (`learn` was called)
        if signal.created_at > given.at + MAX_AHEAD:
            raise Undecodable(f"not a signal: {show_moment(signal.created_at)} is far ahead of the database's clock")
        if signal.id <= given.last:
            return
        if signal.id >= given.beyond:
            raise Undecodable(f"not a signal: no id like {signal.id} was given out; the last one is {given.last}")
        raise NotGivenOut(
            f"the id {signal.id} is after {given.last}, the last one that was given out; if the database was restored,"
            " move its numbering ahead by `setval` (*Backup and restore* in the runbook)"
        )
