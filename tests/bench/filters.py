"""How long a filter takes for one payload of 10 KiB, parsing it and looking paths up included."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import AsyncIterator, Callable

from broker.filters import Context, parse_filter
from tests.bench.rows import Bench, Group, Row, Sample

REPEATS = 3000
ORDER = json.dumps(
    {
        "id": 918273,
        "status": "paid",
        "total": 1234.5,
        "customer": {"id": "c-42", "tier": "gold", "address": {"city": "Springfield", "country": "US"}},
        "items": [
            {
                "sku": f"SKU-{i:05d}",
                "title": f"Article number {i}",
                "quantity": i % 7 + 1,
                "price": i * 3.25,
                "sale": True,
            }
            for i in range(104)
        ],
    }
).encode()
FILTER = parse_filter(
    {
        "customer.tier": {"operator": "IN", "values": ["gold", "platinum"]},
        "customer.address.country": {"operator": "NOT_IN", "values": ["FR"]},
        "total": [{"operator": "NUM_GT", "value": "100"}, {"operator": "NUM_LT", "value": "5000"}],
        "status": {"operator": "REGEX", "value": "^(paid|shipped)$"},
    }
)
ANY_ITEM = parse_filter({"items[*].sku": {"operator": "IN", "values": ["SKU-00103"]}})


def median(function: Callable[[], object]) -> float:
    """Return the median duration of a call, in microseconds."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1e6


def _asks() -> dict[str, Callable[[], object]]:
    context = Context.of(ORDER)
    assert FILTER.mismatch(context) is None
    assert ANY_ITEM.mismatch(context) is None
    return {
        "filters.json": lambda: json.loads(ORDER),
        "filters.five": lambda: FILTER.mismatch(Context.of(ORDER)),
        "filters.further": lambda: FILTER.mismatch(context),
        "filters.any": lambda: ANY_ITEM.mismatch(Context.of(ORDER)),
    }


async def measure(bench: Bench) -> AsyncIterator[Sample]:
    """Filter again and again, round by round."""
    for _ in range(bench.rounds):
        for name, function in _asks().items():
            if bench.wants(name):
                yield Sample(row=name, value=median(function))


GROUP = Group(
    name="filters",
    title=f"Filtering a payload of {len(ORDER)} bytes, parsing included: median of {REPEATS}",
    needs=frozenset(),
    rows=[
        Row(name="filters.json", what="json.loads, for comparison", unit="us"),
        Row(name="filters.five", what="a filter with five conditions", unit="us", baseline="filters.json"),
        Row(
            name="filters.further",
            what="... for each further subscription with it",
            unit="us",
            baseline="filters.json",
        ),
        Row(name="filters.any", what="one condition on any of 104 elements", unit="us", baseline="filters.json"),
    ],
    measure=measure,
)
