"""The SQL of the embedded transport's exchanges and queues."""

from __future__ import annotations

from broker.store.postgres.statements import Statement, Statements


class Sql(Statements, file="queues.sql"):
    """The statements of ``queues.sql``."""

    lock_topology: Statement
    declare_exchange: Statement
    declare_queue: Statement
    bind: Statement
    unbind: Statement
    publish: Statement
    add_owner: Statement
    claim: Statement
    ack: Statement
    reject: Statement
    give_back: Statement
    dead_owners: Statement
    bury: Statement
    depth: Statement
