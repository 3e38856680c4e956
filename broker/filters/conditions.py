"""Conditions: what one path of a payload must hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from broker.filters.contexts import Context
from broker.filters.javascript import string
from broker.filters.operators import OPERATORS, Test
from broker.jsontext import write

_SHOWN = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """An operator and its values, for one path.

    It does what Unleash's SDK does for the same condition, whatever it holds: an unknown operator never holds, not even
    inverted, and values that an operator cannot read match nothing.

    Args:
        path: Where in the payload (see `broker.filters.contexts`); ``[*]`` is any element.
        operator: One of the `OPERATORS`.
        values: What the operator takes: its ``values``, or its one ``value``.
        inverted: Whether it holds where it otherwise would not; so it does where the path is missing.
        case_insensitive: Whether case is ignored, by the operators that can ignore it.
    """

    path: str
    operator: str
    values: tuple[str, ...] = ()
    inverted: bool = False
    case_insensitive: bool = False
    _test: Test | None = field(init=False, repr=False, compare=False)
    _negative: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        operator = OPERATORS.get(self.operator)
        make = operator and ((self.case_insensitive and operator.ignoring_case) or operator.test)
        object.__setattr__(self, "_test", make and make(self.values))
        object.__setattr__(self, "_negative", operator is not None and operator.negated != self.inverted)

    @classmethod
    def of(cls, path: str, document: Mapping[str, Any]) -> Self:
        """Return the condition that *document* describes, without a look at whether it makes sense."""
        operator = OPERATORS.get(document["operator"])
        if operator is not None and operator.takes_list:
            values = document.get("values") or ()
        else:
            values = () if document.get("value") is None else (document["value"],)
        return cls(
            path=path,
            operator=document["operator"],
            values=tuple(map(string, values)),
            inverted=bool(document.get("inverted")),
            case_insensitive=bool(document.get("caseInsensitive")),
        )

    @property
    def document(self) -> dict[str, Any]:
        """The condition as JSON, without defaults."""
        takes_list = OPERATORS[self.operator].takes_list
        document: dict[str, Any] = {"operator": self.operator}
        document |= {"values": list(self.values)} if takes_list else {"value": self.values[0]}
        document |= {"inverted": True} if self.inverted else {}
        return document | ({"caseInsensitive": True} if self.case_insensitive else {})

    def mismatch(self, context: Context) -> str | None:
        """Return why *context* does not meet the condition, as a clause; None if it does."""
        if self._test is None:
            return f"{_shown(self.path)}: there is no operator {_shown(self.operator)}"
        texts = context.texts(self.path)
        passing = next(filter(self._test, texts), None)
        if (passing is None) == self._negative:
            return None
        return self._reason(texts, passing)

    def _reason(self, texts: tuple[str, ...], passing: str | None) -> str:
        path = _shown(self.path)
        if not texts:
            return f"{path} is missing"
        name = "IN" if self.operator == "NOT_IN" else self.operator
        ignored = ", case ignored" if self.case_insensitive and OPERATORS[self.operator].ignoring_case else ""
        test = f"{name} {_shown_list(self.values)}{ignored}"
        if passing is not None:
            return f"{path}: {_shown(passing)} is {test}, which it must not be"
        if len(texts) > 1:
            return f"{path}: none of {len(texts)} values is {test}"
        return f"{path}: {_shown(texts[0])} is not {test}"


def _shown(text: str) -> str:
    """Return *text* for people, at most 40 characters of it, as JSON where it would not be seen for what it is."""
    clear = text.isprintable() and text == text.strip() != ""
    shown = text[: _SHOWN + 1] if clear else write(text[: _SHOWN + 1], "compact-ascii")
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"


def _shown_list(values: tuple[str, ...]) -> str:
    further = len(values) - 2
    return ", ".join(map(_shown, values[:2])) + (f" and {further} more" if further > 0 else "")
