"""Calls: how handlers are declared and called, wherever they run.

The product's workers and the Python client share this package (docs/decisions/0050). It knows neither of them and needs
the standard library alone; with pydantic, payloads are validated into the types that functions ask for.
"""

from .declarations import Declarations, argument_of, check_app
from .functions import Function
from .outcomes import GiveUp, Outcome, Result, TryLater, WrongHandler
from .signals import ReceivedSignal, Variable, scope_of

__all__ = [
    "Declarations",
    "Function",
    "GiveUp",
    "Outcome",
    "ReceivedSignal",
    "Result",
    "TryLater",
    "Variable",
    "WrongHandler",
    "argument_of",
    "check_app",
    "scope_of",
]
