"""Every error the product raises on purpose.

SignalBrokerError
+-- ConfigurationError       the start is refused
+-- InvalidField             a field of the caller's document is invalid
+-- InvalidDocument          ... and all fields of a document that are wrong
+-- UnconvertibleVariable    a typed variable's value is not of its type
|   +-- UnknownType          ... or there is no such type
|   +-- VariableTooDeep      ... or it is JSON that nests deeper than a payload may
+-- PermissionDenied         the principal may not do this
+-- ForeignExecution         the execution belongs to another tenant
+-- IdempotencyConflict      the idempotency key was used for another request
+-- NotReceiving             the subscription is disabled, or was consumed
+-- EndlessLoop              the throw is one of a long chain of deliveries and throws
+-- LimitReached             the settings allow no more of something
+-- QuotaExceeded            a tenant or a token has used what it may
+-- TransportError
|   +-- Unroutable           nothing was stored: no queue is bound, or there is no such queue
|   +-- Unavailable          nothing was sent: no link, or RabbitMQ blocks publishers
|   +-- Unconfirmed          the message may be stored all the same
|       +-- Nacked           a queue refused it
+-- StoreUnavailable         not now: PostgreSQL did not do it; the transaction may have been committed
|   +-- StoreTimeout         ... a statement did not end in time
|   +-- StoreRefusal         ... it refused, for a reason that is not in the data
+-- SecretUnreadable         a text is no webhook secret, or no key of the ring opens it
+-- Unrenderable             a template does not render to a request for a signal
+-- EgressForbidden          the address is neither public nor allow-listed
"""

from __future__ import annotations

import errno
from collections.abc import Sequence


class SignalBrokerError(Exception):
    """The root of this tree."""


class ConfigurationError(SignalBrokerError):
    """Raised when a setting cannot be used; the message names the setting and what is allowed."""


def pointer_to(parent: str, member: str) -> str:
    """Return the JSON pointer (RFC 6901) of a *member* of the object at *parent*."""
    return f"{parent}/{member.replace('~', '~0').replace('/', '~1')}"


class InvalidField(SignalBrokerError):
    """Raised when a document's field breaks a rule of the domain.

    Args:
        pointer: JSON pointer (RFC 6901) of the field, e.g. ``/name``; empty for the document as a whole.
        detail: What was wrong and what is allowed, as a sentence.
    """

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(f"{pointer or 'the document'}: {detail}")
        self.pointer = pointer
        self.detail = detail


class InvalidDocument(SignalBrokerError):
    """Raised when a document does not have the expected shape.

    Args:
        errors: The fields that are wrong, at least one.
    """

    def __init__(self, errors: Sequence[InvalidField]) -> None:
        super().__init__("; ".join(map(str, errors[:5])))
        self.errors = tuple(errors)


class UnconvertibleVariable(SignalBrokerError):
    """Raised when the value of a typed variable is not of its type."""


class UnknownType(UnconvertibleVariable):
    """Raised when a variable has a type that does not exist."""


class VariableTooDeep(UnconvertibleVariable):
    """Raised when a variable's value is JSON that nests deeper than a member of a payload may."""


class PermissionDenied(SignalBrokerError):
    """Raised when a principal does what its permissions, names or tenants do not allow."""


class CredentialsEnded(SignalBrokerError):
    """Raised when credentials that have expired are to be changed."""


class ForeignExecution(SignalBrokerError):
    """Raised when a subscription would wait in an execution that belongs to another tenant."""


class IdempotencyConflict(SignalBrokerError):
    """Raised when an idempotency key is used for a different request."""


class NotReceiving(SignalBrokerError):
    """Raised when a replay is requested for a subscription that no longer receives signals."""


class EndlessLoop(SignalBrokerError):
    """Raised when so many deliveries led to a throw that its signals seem to cause each other without end."""


class LimitReached(SignalBrokerError):
    """Raised when the settings allow no more of something.

    Args:
        what: The thing in the singular, as in ``signal endpoint``.
        most: How many are allowed.
    """

    def __init__(self, what: str, most: int) -> None:
        super().__init__(f"limit reached: at most {most} {what}s")
        self.what = what
        self.most = most


class QuotaExceeded(SignalBrokerError):
    """Raised when a tenant or a token has used what it may.

    Args:
        message: Which quota of whom, as a sentence.
        quota: The quota's name, as the API writes it.
        retry_after: The seconds after which to try again.
        subject: The kind and the id of the tenant or token whose quota it is; None: it is one that everybody has.
    """

    def __init__(self, message: str, *, quota: str, retry_after: int, subject: tuple[str, str] | None = None) -> None:
        super().__init__(message)
        self.quota = quota
        self.retry_after = retry_after
        self.subject = subject


class TransportError(SignalBrokerError):
    """Raised when a message was not accepted, or it is unknown whether it was."""


class Unroutable(TransportError):
    """Raised when no queue is bound for the routing key, or there is no such queue; nothing was stored."""


class Unavailable(TransportError):
    """Raised when the transport accepts nothing now (no link, or publishers are blocked); nothing was sent."""


class Unconfirmed(TransportError):
    """Raised when the publisher confirm did not come in time, or the link was lost while waiting for it.

    The message may be stored all the same; publishing it again is safe because consumers are idempotent.
    """


class Nacked(Unconfirmed):
    """Raised when the confirm was negative: at least one queue refused the message, others may hold it."""


class StoreUnavailable(SignalBrokerError):
    """Raised when PostgreSQL cannot do its work now; whether the transaction was committed is unknown."""


class StoreTimeout(StoreUnavailable):
    """Raised when a statement did not end in time; one with less to do might."""


class StoreRefusal(StoreUnavailable):
    """Raised when PostgreSQL answered with an error that is not about the data: credentials, privileges, the schema.

    Args:
        message: What it said.
        sqlstate: The error's SQLSTATE, five characters.
    """

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate

    @property
    def lacks_a_table(self) -> bool:
        """Whether a table is not there, most likely because the schema has yet to be migrated."""
        return self.sqlstate == "42P01"

    @property
    def may_be_of_one_row(self) -> bool:
        """Whether other rows may be accepted: an operator's own constraint or trigger refuses only some of them."""
        return self.sqlstate[:2] in {"22", "23", "P0"}


class SecretUnreadable(SignalBrokerError):
    """Raised when a text is no webhook secret, or no key of the ring opens a sealed one."""


class Unrenderable(SignalBrokerError):
    """Raised when a template does not render to a valid request for a signal; a retry would not help."""


class EgressForbidden(SignalBrokerError, OSError):
    """Raised when a webhook would go to an address that is neither public nor allow-listed.

    It is an `OSError` with the errno ``EACCES``. The errno is what survives in the libraries between a socket and its
    caller, which combine the failures of a name's addresses into one error.
    """

    def __init__(self, message: str) -> None:
        super().__init__(errno.EACCES, message)

    def __str__(self) -> str:
        return str(self.strerror)
