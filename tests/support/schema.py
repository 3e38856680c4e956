"""The schema as the migrations make it, read from PostgreSQL's catalog: what broker/store/schema.sql holds.

``python -m tests.support.schema`` writes the file. Left out are partitions, which come and go, and what the migrations
keep for themselves.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import broker.store
from broker.store.postgres.database import Database, Row
from tests.support.postgres import fresh_database, postgres_server

FILE = Path(broker.store.__file__).with_name("schema.sql")

_HEAD = """\
-- The schema after all migrations, for readers: broker/store/postgres/migrations make it. Written by
-- `python -m tests.support.schema`. Partitions of signals, matches, deliveries and attempts are left out.
"""
_SHORT = {
    " USING btree": "",
    "ON ONLY public.": "ON ",
    "ON public.": "ON ",
    "FUNCTION public.": "FUNCTION ",
    "timestamp with time zone": "timestamptz",
}
_SHORTER = re.compile("|".join(map(re.escape, _SHORT)))
_OURS = """
n.nspname IN ('public', 'transport') AND c.relname NOT IN ('alembic_version', 'schema_steps') AND NOT c.relispartition
"""
_SEQUENCES = f"""
SELECT c.oid::regclass::text AS name, format_type(s.seqtypid, NULL) AS type, s.seqcycle AS cycles,
       obj_description(c.oid) AS comment
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_OURS} AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'i'
)
ORDER BY n.nspname, c.relname
"""
_TABLES = f"""
SELECT c.oid, c.oid::regclass::text AS name, obj_description(c.oid) AS comment,
       pg_get_partkeydef(c.oid) AS partitioned_by, array_to_string(c.reloptions, ', ') AS options
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_OURS} AND c.relkind IN ('r', 'p') ORDER BY n.nspname, c.relname
"""
_COLUMNS = """
SELECT a.attrelid AS oid, quote_ident(a.attname) AS name, format_type(a.atttypid, a.atttypmod) AS type,
       a.attnotnull AS required, a.attidentity <> '' AS is_identity, a.attgenerated <> '' AS is_generated,
       pg_get_expr(d.adbin, d.adrelid) AS expression, col_description(a.attrelid, a.attnum) AS comment
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum
"""
_CONSTRAINTS = """
SELECT conrelid AS oid, 'CONSTRAINT ' || quote_ident(conname) || ' ' || pg_get_constraintdef(oid) AS definition
FROM pg_constraint WHERE conrelid = ANY ($1::oid[]) AND contype <> 'n' ORDER BY contype <> 'p', contype, conname
"""
_INDEXES = """
SELECT indrelid AS oid, pg_get_indexdef(indexrelid) AS definition, obj_description(indexrelid) AS comment
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE indrelid = ANY ($1::oid[]) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
ORDER BY c.relname
"""
_TRIGGERS = """
SELECT tgrelid AS oid, pg_get_triggerdef(oid) AS definition FROM pg_trigger
WHERE tgrelid = ANY ($1::oid[]) AND NOT tgisinternal ORDER BY tgname
"""
_FUNCTIONS = """
SELECT pg_get_functiondef(p.oid) AS definition, obj_description(p.oid) AS comment
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname IN ('public', 'transport')
ORDER BY n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)
"""


async def describe(database: Database) -> str:
    """Return the schema of *database* as SQL: sequences, tables with their indexes and triggers, and functions."""
    sections = [_HEAD, "\nCREATE SCHEMA transport;\n"]
    sections += [_sequence(row) for row in await database.fetch(_SEQUENCES)]
    tables = await database.fetch(_TABLES)
    oids = [table["oid"] for table in tables]
    columns, constraints, indexes, triggers = [
        _by_table(await database.fetch(query, oids)) for query in (_COLUMNS, _CONSTRAINTS, _INDEXES, _TRIGGERS)
    ]
    for table in tables:
        oid = table["oid"]
        sections.append(_table(table, columns[oid], constraints[oid]))
        sections += [_commented(row["comment"], row["definition"] + ";") for row in indexes[oid]]
        sections += [row["definition"] + ";\n" for row in triggers[oid]]
    for row in await database.fetch(_FUNCTIONS):
        sections.append("\n" + _commented(row["comment"], row["definition"].strip() + ";"))
    return _SHORTER.sub(lambda match: _SHORT[match[0]], "".join(sections))


def _by_table(rows: Sequence[Row]) -> dict[int, list[Row]]:
    of_table: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        of_table[row["oid"]].append(row)
    return of_table


def _commented(comment: str | None, definition: str, *, indent: str = "") -> str:
    lines = [] if comment is None else [f"{indent}-- {line}" for line in textwrap.wrap(comment, 110)]
    return "\n".join([*lines, indent + definition]) + "\n"


def _sequence(row: Row) -> str:
    cycles = " CYCLE" if row["cycles"] else ""
    return "\n" + _commented(row["comment"], f"CREATE SEQUENCE {row['name']} AS {row['type']}{cycles};")


def _table(table: Row, columns: Sequence[Row], constraints: Sequence[Row]) -> str:
    parts = [(column["comment"], _column(column)) for column in columns]
    parts += [(None, constraint["definition"]) for constraint in constraints]
    end = "" if table["partitioned_by"] is None else f" PARTITION BY {table['partitioned_by']}"
    end += "" if table["options"] is None else f" WITH ({table['options']})"
    return (
        "\n" + _commented(table["comment"], f"CREATE TABLE {table['name']} (") + "".join(_members(parts)) + f"){end};\n"
    )


def _members(parts: Sequence[tuple[str | None, str]]) -> Iterator[str]:
    for position, (comment, definition) in enumerate(parts, 1):
        yield _commented(comment, definition + ("," if position < len(parts) else ""), indent="    ")


def _column(column: Row) -> str:
    words = [column["name"], column["type"]]
    if column["is_identity"]:
        words.append("GENERATED ALWAYS AS IDENTITY")
    elif column["required"]:
        words.append("NOT NULL")
    if column["is_generated"]:
        words.append(f"GENERATED ALWAYS AS ({column['expression']}) STORED")
    elif column["expression"] is not None:
        words.append(f"DEFAULT {column['expression']}")
    return " ".join(words)


async def _write(url: str) -> None:
    async with fresh_database(url) as fresh, Database(fresh) as database:
        FILE.write_text(await describe(database), encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory, postgres_server(Path(directory)) as server_url:
        asyncio.run(_write(server_url))
