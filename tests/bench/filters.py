"""How long a filter takes for one payload of 10 KiB, parsing it and looking paths up included."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from broker.filters import Context, parse_filter

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


def show() -> None:
    """Print the medians."""
    context = Context.of(ORDER)
    assert FILTER.mismatch(context) is None
    assert ANY_ITEM.mismatch(context) is None
    rows: dict[str, Callable[[], object]] = {
        "json.loads, for comparison": lambda: json.loads(ORDER),
        "a filter with five conditions": lambda: FILTER.mismatch(Context.of(ORDER)),
        "... for each further subscription with it": lambda: FILTER.mismatch(context),
        "one condition on any of 104 elements": lambda: ANY_ITEM.mismatch(Context.of(ORDER)),
    }
    table = Table(title=f"Filtering a payload of {len(ORDER)} bytes: median of {REPEATS}")
    table.add_column("what")
    table.add_column("median", justify="right")
    for name, function in rows.items():
        table.add_row(name, f"{median(function):,.1f} us")
    Console(width=130).print(table)
