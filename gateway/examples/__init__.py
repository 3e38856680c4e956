"""Examples for the description of the API: for each schema documents that are valid.

A member's example is its value in the first document in which it is not null. The tests send those of requests.
The first document of a request is what ``/docs`` sends unchanged: it does something visible, and no harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.examples import messages, native, others, pulling

EXAMPLES: Mapping[str, tuple[Any, ...]] = {
    **native.EXAMPLES,
    **pulling.EXAMPLES,
    **others.EXAMPLES,
    **messages.EXAMPLES,
}
"""By the names of the schemas."""
