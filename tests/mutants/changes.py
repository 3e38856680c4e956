"""The changes that can be made to a module: one operator, number, flag or condition at a time."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

SWAPS = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "//"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
    ast.BitOr: ("|", "&"),
    ast.BitAnd: ("&", "|"),
    ast.BitXor: ("^", "|"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}

# mypy and the formatter look after what is not run: annotations and decorators (slots, frozen, kw_only). Before Python
# 3.12 what stands in an f-string has no position.
_LEFT_OUT = {"annotation", "returns", "decorator_list"}
_CHANGED_WITHIN = ast.Compare | ast.BoolOp | ast.Constant


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a module's source: the bytes from *start* to *end* become *new*.

    Args:
        path: The module's file.
        start: Where the text begins that is replaced.
        end: Where it ends.
        new: What replaces it.
        line: The line on which it stands.
        lines: The lines of the function around it; none if it is run on import.
    """

    path: Path
    start: int
    end: int
    new: bytes
    line: int
    lines: range

    def apply(self, source: bytes) -> bytes:
        """Return *source* with the change made."""
        return source[: self.start] + self.new + source[self.end :]

    def describe(self, source: bytes) -> str:
        """Return where it is, what becomes what, and the line as it stands."""
        old, new = (" ".join(text.decode().split()) for text in (source[self.start : self.end], self.new))
        return f"{self.path}:{self.line}: {old} -> {new}: {source.splitlines()[self.line - 1].decode().strip()}"


def find_changes(path: Path, source: bytes) -> list[Change]:
    """Return every change that can be made to the module at *path*, in the order of its text."""
    finder = _Finder(path, source)
    finder.visit(ast.parse(source))
    return sorted(finder.changes, key=lambda change: (change.start, change.end))


class _Finder(ast.NodeVisitor):
    def __init__(self, path: Path, source: bytes) -> None:
        self.changes: list[Change] = []
        self._path = path
        self._source = source
        self._offsets = [0]
        for line in source.splitlines(keepends=True):
            self._offsets.append(self._offsets[-1] + len(line))
        self._lines = range(0)

    def generic_visit(self, node: ast.AST) -> None:
        for field, value in ast.iter_fields(node):
            if field not in _LEFT_OUT:
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.AST):
                        self.visit(child)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        around = self._lines
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        self._lines = range(first, (node.end_lineno or first) + 1)
        self.generic_visit(node)
        self._lines = around

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Leave out what stands in an f-string."""

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._replace(node, str(not node.value))
        elif isinstance(node.value, int | float):
            self._replace(node, repr(node.value + 1))

    def visit_Compare(self, node: ast.Compare) -> None:
        self._swap([node.left, *node.comparators], node.ops)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self._swap(node.values, [node.op] * len(node.values))
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self._swap([node.left, node.right], [node.op])
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._swap([node.target, node.value], [node.op])
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._replace(node, self._text(node.operand))
        self.generic_visit(node)

    def visit_If(self, node: ast.If | ast.IfExp | ast.While) -> None:
        self._negate(node.test)
        self.generic_visit(node)

    visit_IfExp = visit_If  # noqa: N815
    visit_While = visit_If  # noqa: N815

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for condition in node.ifs:
            self._negate(condition)
        self.generic_visit(node)

    def _negate(self, test: ast.expr) -> None:
        if not isinstance(test, _CHANGED_WITHIN | ast.UnaryOp):
            self._replace(test, f"not ({self._text(test)})")

    def _swap(self, operands: list[ast.expr], operators: list[Any]) -> None:
        for (left, right), operator in zip(pairwise(operands), operators, strict=False):
            old, new = SWAPS[type(operator)]
            start = self._span(left)[1]
            between = self._source[start : self._span(right)[0]]
            found = re.search(rb"\s+".join(map(re.escape, old.encode().split())), between)
            if found:
                self._add(start + found.start(), start + found.end(), new, line=left.end_lineno or left.lineno)

    def _replace(self, node: ast.expr, new: str) -> None:
        self._add(*self._span(node), new, line=node.lineno)

    def _add(self, start: int, end: int, new: str, *, line: int) -> None:
        self.changes.append(Change(self._path, start, end, new.encode(), line, self._lines))

    def _span(self, node: ast.expr) -> tuple[int, int]:
        last, column = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
        return self._offsets[node.lineno - 1] + node.col_offset, self._offsets[last - 1] + column

    def _text(self, node: ast.expr) -> str:
        start, end = self._span(node)
        return self._source[start:end].decode()
