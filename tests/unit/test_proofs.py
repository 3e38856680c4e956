"""A proof reached a recorder once it was handed out a message of it from each shard of the record queue."""

from __future__ import annotations

import pytest

from broker.messages import Proof, proof_message, read_proof
from broker.transport import Received
from tests.support.builders import signal
from workers.proofs import Proofs


def receive(message):
    return Received(body=message.body, headers=message.headers, tag=1, redelivered=False)


def test_a_proof_of_a_queue_that_is_not_split_is_one_message():
    proofs = Proofs()
    assert proofs.last == 0
    proofs.note([Proof(7)])
    assert proofs.last == 7


def test_a_proof_of_a_split_queue_is_a_message_of_each_shard():
    proofs = Proofs()
    proofs.note([Proof(7, 0, 3), Proof(7, 2, 3)])
    proofs.note([Proof(7, 2, 3)])
    assert proofs.last == 0
    proofs.note([Proof(7, 1, 3)])
    assert proofs.last == 7


def test_an_earlier_proof_says_nothing_of_a_later_one():
    proofs = Proofs()
    proofs.note([Proof(7, 0, 2), Proof(8, 1, 2), Proof(7, 1, 2)])
    assert proofs.last == 0
    proofs.note([Proof(8, 0, 2)])
    assert proofs.last == 8


def test_a_message_has_its_proof():
    proof = Proof(7, 1, 3)
    assert read_proof(receive(proof_message(signal(), proof))) == proof


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"proof": "7"},
        {"proof": 0},
        {"proof": 1 << 63},
        {"proof": 7, "proof-shard": -1},
        {"proof": 7, "proof-shard": 1},
        {"proof": 7, "proof-shard": 0, "proof-shards": 33},
        {"proof": 7, "proof-shard": "0", "proof-shards": 2},
    ],
)
def test_what_no_scheduler_wrote_is_no_proof(headers):
    assert read_proof(Received(body=b"{}", headers=headers, tag=1, redelivered=False)) is None


def test_a_proof_of_the_version_before_has_only_a_number():
    assert read_proof(Received(body=b"{}", headers={"proof": 7}, tag=1, redelivered=False)) == Proof(7)
