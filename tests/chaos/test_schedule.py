"""`make chaos` in a minute: a schedule with a fixed seed, and a fault of every family, some of them two at once.

The faults are as long as it takes for the product to notice them. `make chaos` itself has longer ones, on a cluster.
"""

from __future__ import annotations

import random
from itertools import islice

import pytest
import pytest_asyncio

from tests.chaos.experiment import survive
from tests.chaos.faults import FAMILIES, network, postgres, processes, rabbitmq, receivers
from tests.chaos.faults.fault import together
from tests.chaos.schedule import schedule
from tests.chaos.stack import TWO_OF_EACH, rabbitmq_stack
from tests.support.audience import TARGETS
from tests.support.receiver import Answer

pytestmark = pytest.mark.slow

SEED = 11

FAULTS = [
    processes.suspend("recorder", seconds=2),
    together(processes.kill("deliverer"), network.reset(everywhere=True)),
    postgres.terminate(times=1),
    together(postgres.crash(), receivers.answer("reset", Answer(fate="close"), seconds=1)),
    rabbitmq.delete_queue("signals.record"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(postgres, rabbitmq, tmp_path_factory):
    """Two of each process, and links to RabbitMQ that can be cut."""
    directory = tmp_path_factory.mktemp("stack")
    running = rabbitmq_stack(postgres, [rabbitmq], directory, random.Random(SEED), TWO_OF_EACH, linked=True)
    async with running as stack:
        yield stack


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", range(len(FAULTS)))
async def test_whatever_happens_the_books_agree(stack, number, tmp_path):
    faults = random.Random(SEED).sample(FAULTS, len(FAULTS))
    stack.rng = random.Random(f"{SEED}:{number}")
    outcome = await survive(stack, faults[number], audience=TARGETS)
    print(outcome)
    assert not outcome.violations
    assert outcome.books.accepted


async def test_a_schedule_is_the_same_for_the_same_seed():
    names = [fault.name for fault in islice(schedule(SEED), 100)]
    assert names == [fault.name for fault in islice(schedule(SEED), 100)]
    assert names != [fault.name for fault in islice(schedule(SEED + 1), 100)]
    everything = {fault.name for faults in FAMILIES.values() for fault in faults}
    assert everything <= set(names)
    assert sum(" + " in name for name in names) > 10
    assert len(everything) == sum(map(len, FAMILIES.values())), "two faults have the same name"
