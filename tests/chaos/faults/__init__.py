"""All faults, by what they hit."""

from __future__ import annotations

from tests.chaos.faults import network, postgres, processes, rabbitmq, receivers
from tests.chaos.faults.fault import Fault

FAMILIES: dict[str, list[Fault]] = {
    "processes": processes.FAULTS,
    "rabbitmq": rabbitmq.FAULTS,
    "network": network.FAULTS,
    "postgres": postgres.FAULTS,
    "receivers": receivers.FAULTS,
}
