"""Conditions: what one path of a payload must hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

from broker.filters.contexts import Context
from broker.filters.javascript import string
from broker.filters.operators import LONG_SEARCH, OPERATORS, Pattern, Test
from broker.filters.steps import Steps, finish
from broker.jsontext import write

_SHOWN = 40
_VALUES = 10
"""Values for which tests are made at once; and of one test, if it takes time for each of its values."""
_SHORT = 1024
"""Characters of a text that is tested at once."""
_EFFORT = 4096
"""Steps of a search that is made at once."""
_STEP = 16 * _EFFORT
"""Effort that is a step of the evaluation."""


class Long:
    """The type of `LONG`."""


LONG = Long()
"""Says that an evaluation takes so long that it is done in steps."""


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
    _tests: tuple[Test, ...] = field(init=False, repr=False, compare=False, default=())
    _at_once: int = field(init=False, repr=False, compare=False, default=0)
    _negative: bool = field(init=False, repr=False, compare=False, default=False)

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
        return finish(self.steps(context))

    def mismatch_at_once(self, context: Context) -> str | Long | None:
        """Return what `mismatch` does if that is known within some 100 us, else `LONG`."""
        if not self._tests:
            if len(self.values) > _VALUES or self.operator not in OPERATORS:
                return LONG
            self._make_tests()
        texts = context.texts_at_once(self.path)
        if texts is None:
            return LONG
        passing = None
        if texts:
            text = texts[0]
            if len(texts) > 1 or len(text) > self._at_once:
                return LONG
            for test in self._tests:
                if test(text):
                    passing = text
                    break
        return None if (passing is None) == self._negative else self._reason(texts, passing)

    def steps(self, context: Context) -> Steps[str | None]:
        """Return what finds out, in steps, why *context* does not meet the condition."""
        if self.operator not in OPERATORS:
            return f"{_shown(self.path)}: there is no operator {_shown(self.operator)}"
        texts = yield from context.find(self.path)
        if not self._tests:
            self._make_tests()
            if len(self.values) > _VALUES:
                yield None
        passing = yield from _first_passing(texts, self._tests)
        return None if (passing is None) == self._negative else self._reason(texts, passing)

    def _make_tests(self) -> None:
        """Make the tests, of which a text has to pass one, when they are first needed: it takes longer than a test."""
        operator = OPERATORS[self.operator]
        make = (self.case_insensitive and operator.ignoring_case) or operator.test
        size = _VALUES if operator.takes_each_value else max(1, len(self.values))
        tests = tuple(make(self.values[start : start + size]) for start in range(0, max(1, len(self.values)), size))
        object.__setattr__(self, "_tests", tests)
        # Characters that are tested at once, by all of them.
        at_once = _EFFORT // tests[0].effort("a") if isinstance(tests[0], Pattern) else _SHORT // len(tests)
        object.__setattr__(self, "_at_once", at_once)
        object.__setattr__(self, "_negative", operator.negated != self.inverted)

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


def _first_passing(texts: tuple[str, ...], tests: tuple[Test, ...]) -> Steps[str | None]:
    """Return the first of *texts* that passes one of *tests*."""
    work = _STEP if len(texts) * len(tests) > _STEP // _EFFORT else 0
    for text in texts:
        for test in tests:
            if isinstance(test, Pattern):
                effort = test.effort(text)
                if effort > LONG_SEARCH:
                    if (yield partial(test, text)):
                        return text
                    continue
            else:
                effort = len(text)
            work += effort + _EFFORT
            if work > _STEP:
                yield None
                work = 0
            if test(text):
                return text
    return None


def _shown(text: str) -> str:
    """Return *text* for people, at most 40 characters of it, as JSON where it would not be seen for what it is."""
    clear = text.isprintable() and text == text.strip() != ""
    shown = text[: _SHOWN + 1] if clear else write(text[: _SHOWN + 1], "compact-ascii")
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"


def _shown_list(values: tuple[str, ...]) -> str:
    further = len(values) - 2
    return ", ".join(map(_shown, values[:2])) + (f" and {further} more" if further > 0 else "")
