"""Quotas: how much a tenant or an API token may use, and what that is at this moment."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from math import ceil

from broker.errors import QuotaExceeded
from broker.signals import Source, Throw

_BURST = 0.25
"""For how many seconds' throws a caller may save up."""
_NEWEST = 0.5
"""How much the latest look counts in a demand."""
_LEAST_SHARE = 0.05
"""What part of an equal share a gateway has at least: its first caller must not wait for the next look."""
LATER = 60
"""Seconds after which to try again what no time of its own makes possible."""


class QuotaKind(enum.StrEnum):
    """Whose quota it is."""

    TENANT = "tenant"
    TOKEN = "token"  # noqa: S105  (a kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How much may be used; None is no limit.

    Args:
        throws_per_second: How many throws a second, over all gateways.
        subscriptions: How many subscriptions there may be, of the tenant or made by the token.
        deliveries_per_throw: How many subscriptions a signal may be for, by name and scope.
        payload_bytes_per_day: How many bytes the payloads of a day (UTC) may have together.
    """

    throws_per_second: float | None = None
    subscriptions: int | None = None
    deliveries_per_throw: int | None = None
    payload_bytes_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose quota it is: a tenant by its id, or a token by its number.

    Args:
        kind: Which of the two.
        id: The tenant, or the token's number.
    """

    kind: QuotaKind
    id: str

    def __str__(self) -> str:
        return f"the {self.kind.value} {self.id!r}"


def subjects_of(throw: Throw, tenants: Sequence[str] | None) -> Iterator[Subject]:
    """Yield whose quotas *throw* counts for: its token's, and that of the tenant that it names.

    If it names none, it counts for the *tenants* that its caller is limited to; without limits for none.
    """
    if throw.token_id is not None and throw.source is not Source.SIGNAL_ENDPOINT:
        yield Subject(QuotaKind.TOKEN, str(throw.token_id))
    for tenant in dict.fromkeys((tenants or ()) if throw.tenant_id is None else (throw.tenant_id,)):
        yield Subject(QuotaKind.TENANT, tenant)


def used_up(subject: Subject, quota: str, most: float, *, retry_after: int) -> QuotaExceeded:
    """Return the error that says which *quota* of *subject* is used up."""
    return QuotaExceeded(
        f"The quota {quota} of {subject} ({most:g}) is used up.",
        quota=quota,
        retry_after=retry_after,
        subject=(subject.kind.value, subject.id),
    )


class Meter:
    """What one subject uses at one gateway.

    Args:
        subject: The tenant or the token.
        quota: Its quota.
        share: What part of the throws this gateway may take.
        now: Monotonic seconds.
    """

    def __init__(self, subject: Subject, quota: Quota, *, share: float, now: float) -> None:
        self.subject = subject
        self.quota = quota
        self.demand = 0.0
        """How many throws a second are tried here, accepted or not."""
        self.unreported = 0
        """How many bytes of payloads were accepted here that the others do not know of."""
        self._day = datetime.now(UTC).date()
        self._reported = 0
        self._tried = 0
        self._share = share
        self._saved = self._most_saved
        self._at = now

    def is_idle(self, now: float) -> bool:
        """Return whether nothing was tried lately, and nothing that was used is to be remembered."""
        if self._tried or self._used_today() or self.demand >= 0.01:
            return False
        self._save(now)
        return self._saved >= self._most_saved

    def count(self) -> None:
        """Count a throw that is tried."""
        self._tried += 1

    def check(self, throw: Throw, now: float) -> None:
        """Check that the quota allows *throw*, apart from the number of its deliveries.

        Raises:
            QuotaExceeded: It does not, at this moment.
        """
        if self.quota.throws_per_second is not None:
            self._save(now)
            if self._saved < 1:
                wait = ceil((1 - self._saved) / (self.quota.throws_per_second * self._share))
                raise used_up(self.subject, "throwsPerSecond", self.quota.throws_per_second, retry_after=wait)
        most = self.quota.payload_bytes_per_day
        if most is not None and self._used_today() + len(throw.payload) > most:
            raise used_up(self.subject, "payloadBytesPerDay", most, retry_after=_seconds_of_day_left())

    def _save(self, now: float) -> None:
        rate = (self.quota.throws_per_second or 0) * self._share
        self._saved, self._at = min(self._most_saved, self._saved + (now - self._at) * rate), now

    def take(self, throw: Throw) -> None:
        """Take what *throw* uses."""
        if self.quota.throws_per_second is not None:
            self._saved -= 1
        if self.quota.payload_bytes_per_day is not None:
            self.unreported += len(throw.payload)

    def look(self, since: float) -> None:
        """Update the demand after so many seconds."""
        self.demand += _NEWEST * (self._tried / since - self.demand)
        self._tried = 0

    def learn(self, *, others: float, gateways: int, payload_bytes: int, reported: int) -> None:
        """Note the demand at the *others*, how many *gateways* there are, and the bytes of today's payloads.

        *reported*: how many bytes of this gateway are among them for the first time.
        """
        total = self.demand + others
        equal = 1 / max(1, gateways)
        self._share = equal if not total else min(1.0, max(self.demand / total, _LEAST_SHARE * equal))
        self._day, self._reported = datetime.now(UTC).date(), payload_bytes
        self.unreported -= reported

    @property
    def _most_saved(self) -> float:
        return max(1.0, (self.quota.throws_per_second or 0) * self._share * _BURST)

    def _used_today(self) -> int:
        return self.unreported + (self._reported if self._day == datetime.now(UTC).date() else 0)


def _seconds_of_day_left() -> int:
    now = datetime.now(UTC)
    return ceil((datetime.combine(now.date() + timedelta(days=1), time(), UTC) - now).total_seconds())
