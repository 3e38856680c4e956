"""A client of signal-broker: throw signals, subscribe to them, follow them, verify webhooks, handle what is pulled.

with Client("http://127.0.0.1:8080", token) as broker:
    broker.throw("order.paid", {"order": 7})
"""

from .async_client import AsyncClient
from .calls import GiveUp, Outcome, ReceivedSignal, Result, TryLater, Variable, WrongHandler
from .client import Client
from .documents import BatchResult, Match, Problem, Signal, Subscription
from .errors import ClientError, InvalidWebhook, Refused, Unavailable
from .handlers import Handlers
from .throws import Throw
from .webhooks import Webhook, verify

__all__ = [
    "AsyncClient",
    "BatchResult",
    "Client",
    "ClientError",
    "GiveUp",
    "Handlers",
    "InvalidWebhook",
    "Match",
    "Outcome",
    "Problem",
    "ReceivedSignal",
    "Refused",
    "Result",
    "Signal",
    "Subscription",
    "Throw",
    "TryLater",
    "Unavailable",
    "Variable",
    "Webhook",
    "WrongHandler",
    "verify",
]
