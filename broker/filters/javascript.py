"""Texts and numbers as JavaScript converts them (ECMA-262), which is how Unleash's operators are defined."""

from __future__ import annotations

import re
from math import inf, nan

BLANKS = (
    "\t\n\v\f\r \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f"
    "\u3000\ufeff"
)
"""What ``trim`` and ``Number`` strip; Python's ``str.strip`` strips other characters."""

MAX_SAFE_INTEGER = (1 << 53) - 1

_DECIMAL = re.compile(r"[+-]?(?:Infinity|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)")
_RADIX = re.compile(r"0(?:[xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)")


def number(text: str) -> float:
    """Return ``Number(text)``: NaN if it is none, 0 if it is blank."""
    text = text.strip(BLANKS)
    if not text:
        return 0.0
    if _DECIMAL.fullmatch(text):
        return float(text)
    return _double(int(text, 0)) if _RADIX.fullmatch(text) else nan


def string(value: str | float) -> str:
    """Return ``String(value)`` of a text, a number or a boolean out of JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER else _digits(_double(value))
    return _digits(value)


def _double(integer: int) -> float:
    try:
        return float(integer)
    except OverflowError:
        return inf if integer > 0 else -inf


def _digits(value: float) -> str:
    """Write a double. Both languages write the same digits; only the exponents begin and look different."""
    if value in {inf, -inf}:
        return "Infinity" if value == inf else "-Infinity"
    if value == 0:
        return "0"
    mantissa, _, power = repr(value).partition("e")
    if not power:
        return mantissa.removesuffix(".0")
    exponent = int(power)
    if not -7 < exponent < 21:
        return f"{mantissa}e{exponent:+d}"
    sign, digits = "-" if value < 0 else "", mantissa.lstrip("-").replace(".", "")
    if power.startswith("-"):
        return sign + "0." + "0" * (-exponent - 1) + digits
    return sign + digits.ljust(exponent + 1, "0")
