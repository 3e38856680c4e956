"""Rotation: a token gets another value, and those before it are good for a while."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from broker.access import digest
from broker.store.postgres.database import Session
from broker.store.postgres.statements import Statement, Statements


class _Sql(Statements, file="rotation.sql"):
    end_former: Statement
    keep_former: Statement
    drop_former: Statement
    replace_digest: Statement


_OWNERS = {"tokens": "token_id", "endpoint_tokens": "endpoint_token_id"}


async def replace_value(
    session: Session, tokens: Literal["tokens", "endpoint_tokens"], token_id: int, value: str, *, overlap: timedelta
) -> None:
    """Give a token of the table *tokens* another *value*; all earlier ones end with *overlap*, if not before."""
    owner, seconds = _OWNERS[tokens], overlap.total_seconds()
    await session.execute(_Sql.end_former.naming(owner=owner), token_id=token_id, overlap=seconds)
    await session.execute(_Sql.keep_former.naming(owner=owner, tokens=tokens), token_id=token_id, overlap=seconds)
    await session.execute(_Sql.drop_former.naming(owner=owner), token_id=token_id)
    await session.execute(_Sql.replace_digest.naming(tokens=tokens), token_id=token_id, digest=digest(value))
