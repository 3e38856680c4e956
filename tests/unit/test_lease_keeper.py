"""What lets deliveries to pull targets be leased that were held back."""

from broker.deliveries import DueAttempt
from broker.store.deliveries.contenders import Contender
from broker.store.deliveries.surplus import Recalled
from broker.topology import LEASED
from workers.lease_keeper import LeaseKeeper


class Surplus:
    """Has so many deliveries of each subscription, and notes whose were recalled."""

    def __init__(self, left):
        self.left = left
        self.recalls = []

    async def find(self, apps, *, limit, after_id=0):
        assert list(apps) == [LEASED]
        return {key: Contender(LEASED, None) for key in [key for key in sorted(self.left) if key > after_id][:limit]}

    async def recall(self, limits):
        self.recalls.append(list(limits))
        counts = {key: min(limit, self.left[key]) for key, limit in limits.items()}
        for key, count in counts.items():
            self.left[key] -= count
        due_attempts = [DueAttempt(number, key, 1) for key, count in counts.items() for number in range(count)]
        return Recalled(due_attempts, frozenset())


async def test_all_subscriptions_are_recalled_a_few_at_a_time_and_then_the_first_ones_again():
    surplus = Surplus(dict.fromkeys(range(1, 46), 600))
    keeper = LeaseKeeper(None, surplus)
    assert [await keeper.recall() for _ in range(3)] == [500, 500, 2500], (
        "at least as many as means that there may be more"
    )
    assert surplus.recalls == [[*range(1, 21)], [*range(21, 41)], [*range(41, 46)]]
    assert [await keeper.recall() for _ in range(3)] == [500, 500, 500]
    assert sum(surplus.left.values()) == 0
    await keeper.recall()
    assert surplus.recalls[6] == surplus.recalls[0]
