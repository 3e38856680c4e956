"""All faults, by what they hit."""

from __future__ import annotations

from contextlib import nullcontext

from tests.chaos.faults import network, postgres, processes, rabbitmq, receivers
from tests.chaos.faults.fault import Fault

NOTHING = Fault(name="no fault", inflict=lambda _stack: nullcontext(), seconds=5)
"""What the others are compared with; no schedule has it."""

FAMILIES: dict[str, list[Fault]] = {
    "processes": processes.FAULTS,
    "rabbitmq": rabbitmq.FAULTS,
    "network": network.FAULTS,
    "postgres": postgres.FAULTS,
    "receivers": receivers.FAULTS,
}
