"""The proofs that a recorder was handed out: by then it was handed out all that the record queue held for it."""

from __future__ import annotations

from collections.abc import Iterable

from broker.messages import Proof


class Proofs:
    """Knows the last proof of which a message of every shard was handed out."""

    def __init__(self) -> None:
        self.last = 0
        """Its number; 0 if there was none so far."""
        self._number = 0
        self._shards: set[int] = set()
        """The shards that a message of the proof `_number` came from."""

    def note(self, proofs: Iterable[Proof]) -> None:
        """Note *proofs* that were handed out."""
        for proof in proofs:
            if proof.number > self._number:
                self._number, self._shards = proof.number, set()
            if proof.number == self._number:
                self._shards.add(proof.shard)
                if len(self._shards) >= proof.shards:
                    self.last = proof.number
