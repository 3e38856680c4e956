"""Turns: who is next, among many who wait, when each group gets as many turns as the next one."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar, cast

T = TypeVar("T")
Path = tuple[Hashable, ...]
"""The groups of a waiting item, the outermost first."""
_Groups = OrderedDict[Hashable, object]


class Turns(Generic[T]):
    """Items that wait in nested groups. The groups of a group take turns; those of an innermost one keep their order.

    All paths have the same length.
    """

    def __init__(self) -> None:
        self._groups: _Groups = OrderedDict()

    def add(self, path: Path, item: T) -> None:
        """Let *item* wait in the groups of *path*."""
        groups = self._groups
        for key in path[:-1]:
            groups = cast(_Groups, groups.setdefault(key, OrderedDict()))
        cast("deque[T]", groups.setdefault(path[-1], deque())).append(item)

    def serve(self, admits: Callable[[Path], bool]) -> Iterator[T]:
        """Remove and yield the items whose turn it is, one after the other, in groups that *admits* accepts.

        A group that accepts an inner one is accepted itself. One that was refused is not asked again, so there may be
        many that wait in vain: whatever the caller does with an item must not make room.
        """
        refused: set[Path] = set()

        def asked(path: Path) -> bool:
            if path in refused:
                return False
            if not admits(path):
                refused.add(path)
                return False
            return True

        while (item := self._pop(self._groups, (), asked)) is not None:
            yield item

    def _pop(self, groups: _Groups, path: Path, admits: Callable[[Path], bool]) -> T | None:
        is_asked = not path
        for key, group in groups.items():
            inner = (*path, key)
            if isinstance(group, deque):
                item = cast(T, group.popleft()) if admits(inner) else None
            else:
                item = self._pop(cast(_Groups, group), inner, admits)
            if item is not None:
                if group:
                    groups.move_to_end(key)
                else:
                    del groups[key]
                return item
            if not is_asked:
                if not admits(path):
                    return None
                is_asked = True
        return None

    def queues(self) -> Iterator[tuple[Path, deque[T]]]:
        """Yield each innermost group with its items; they may be removed, if `prune` is called at the end."""
        yield from self._queues(self._groups, ())

    def _queues(self, groups: _Groups, path: Path) -> Iterator[tuple[Path, deque[T]]]:
        for key, group in groups.items():
            if isinstance(group, deque):
                yield (*path, key), group
            else:
                yield from self._queues(cast(_Groups, group), (*path, key))

    def prune(self) -> None:
        """Forget groups without items."""
        self._prune(self._groups)

    def _prune(self, groups: _Groups) -> None:
        for key, group in list(groups.items()):
            if not isinstance(group, deque):
                self._prune(cast(_Groups, group))
            if not group:
                del groups[key]
