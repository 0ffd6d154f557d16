"""Room `model` (pure; imports `model` alone): what is wrong with a table's declaration, before anything rests on it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from antiphon.model.errors import InvalidInput
from antiphon.model.placed import condition_faults, place_faults

if TYPE_CHECKING:
    from antiphon.model.table import Column, Rollup, Table, Writers

GENERATION: Final = "__g"
"""What follows a table's name while another generation of it is made."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
ROLE: Final = _NAME
"""What a role may be called."""
_RESERVED: Final = frozenset({"n", "log", "seq", "rowid", "author", "date"})
_RESERVED_TABLES: Final = frozenset(
    {"authors", "blocks", "followers", "frames", "letters", "logs", "mentions", "meta", "outbox", "reached", "runs"}
    | {"expected", "rejections", "schema_version", "tips"}
)
_NUMBERS: Final = frozenset({"integer", "real", "decimal", "duration", "timestamp", "boolean"})
_OF_ROWS: Final = frozenset({"count", "sum", "min", "max", "set"})
_OF_COLUMNS: Final = frozenset({"ratio", "product", "beta"})
_KEYS: Final = frozenset({"text", "enum", "integer", "date", "timestamp", "bytes", "id", "person", "agent", "log"})


def fault_of(table: Table) -> str | None:
    """The first contradiction in a declaration, None when there is none."""
    return next(_faults(table), None)


def _faults(table: Table) -> Iterator[str]:
    names = [column.name for column in table.columns]
    if not _NAME.fullmatch(table.name):
        yield "its name must be lower-case letters, digits and underscores, at most 63"
    if table.name in _RESERVED_TABLES or table.name.startswith("sqlite_") or GENERATION in table.name:
        yield "its name is one that engines reserve: choose another"
    for column in table.columns:
        if not _NAME.fullmatch(column.name) or column.name in _RESERVED:
            yield f"column {column.name!r} has a name that engines reserve or refuse"
        if names.count(column.name) > 1:
            yield f"column {column.name!r} is declared twice"
    if not table.key:
        yield "it has no key"
    for name in table.key:
        if name not in names:
            yield f"its key {name!r} is not a column"
    yield from _key_faults(table)
    for column in table.columns:
        yield from _column_faults(table, column)
    yield from _index_faults(table, names)
    yield from _text_faults(table, names)
    yield from _authority_faults(table, names)
    yield from _scope_faults(table)
    yield from _retention_faults(table)
    yield from _graph_faults(table)
    for rollup in table.rollups:
        yield from _rollup_faults(table, rollup, names)
    yield from place_faults(table)


def _key_faults(table: Table) -> Iterator[str]:
    for name in table.key:
        column = table.column(name)
        if column.type not in _KEYS:
            yield f"its key {name!r} is of type {column.type}, which has no order that all engines share"
        if column.merge != "last_write" or column.derived is not None or column.held:
            yield f"its key {name!r} can only be what the event says: no merge rule, not derived, not held"
        if column.pii:
            yield f"its key {name!r} is personal data, and keys go everywhere: use a random id"
    for name in table.shard:
        if name not in table.key:
            yield f"it is placed by {name!r}, which is not in its key: a row could not be found"
    for columns in table.unique:
        yield from _unique_faults(table, columns)


def _unique_faults(table: Table, columns: tuple[str, ...]) -> Iterator[str]:
    said = f"unique over {', '.join(map(repr, columns)) or 'nothing'}"
    for name in columns:
        if name not in table.by_name:
            yield f"unique over {name!r}, which is not a column"
        elif not table.column(name).is_stored or table.column(name).type not in _KEYS | _NUMBERS:
            yield f"unique over {name!r}, which is not stored with the row, or has no order"
        elif table.column(name).pii and not table.column(name).blind:
            yield f"unique over {name!r}, which is personal data that cannot be looked up: declare it `blind`"
    if not columns or set(table.key) <= set(columns):
        yield f"{said}: that is so by itself, or says nothing"
    if all(index.where is not None or index.columns[: len(columns)] != columns for index in table.indexes):
        yield f"{said} without an index that begins so, by which a second one would be found"
    if table.home is None:
        return
    merges = {table.column(name).merge for name in columns if name not in table.key}
    if "decided" not in merges or not merges <= {"decided", "once"}:
        yield f"{said}: its home can keep that alone where it decides it: merge=DECIDED, the others once"


def _column_faults(table: Table, column: Column) -> Iterator[str]:
    said = f"column {column.name!r}"
    if not column.nullable and column.default is None and column.name not in table.key and column.type == "json":
        yield f"{said}: JSON that is required needs a default"
    if (column.type == "enum") != bool(column.values):
        yield f"{said}: an enum has values, and nothing else has"
    if len(set(column.values)) < len(column.values):
        yield f"{said}: a value is listed twice"
    if (column.type == "vector") != bool(column.size):
        yield f"{said}: a vector has a size, and nothing else has"
    yield from _item_faults(column, said)
    yield from _rule_faults(table, column, said)
    if column.blind and not column.pii:
        yield f"{said}: a blind index is for personal data (pii)"
    if column.pii and column.type != "text":
        yield f"{said}: personal data is text"
    if column.default is not None:
        yield from _default_faults(column)
    if column.derived is not None:
        yield from _derived_faults(table, column)


def _item_faults(column: Column, said: str) -> Iterator[str]:
    if column.type in ("list", "set", "map") and column.of is None:
        yield f"{said}: say what it is a {column.type} of"
    if column.of is not None and (
        column.type not in ("list", "set", "map") or column.of in ("list", "set", "map", "vector")
    ):
        yield f"{said}: lists, sets and maps alone have items, and items are single values"
    if column.type == "set" and column.of in ("json", "real", "geo_shape", "geo_point"):
        yield f"{said}: a set of {column.of} has no one order"
    if column.type == "decimal" and not 0 <= column.scale <= column.precision <= 18:
        yield f"{said}: a decimal has at most 18 digits, of which `scale` stand after the point"


def _rule_faults(table: Table, column: Column, said: str) -> Iterator[str]:
    if column.merge in ("highest", "mutual"):
        by = table.by_name.get(column.by or "")
        if by is None or by.type not in ("integer", "real"):
            yield f"{said}: its rule {column.merge} needs a number column `by`"
    elif column.by is not None:
        yield f"{said}: only `highest` and `mutual` go by another column"
    if column.merge == "grow_set" and column.type != "set":
        yield f"{said}: only a set can be a grow_set"
    if column.merge == "mutual" and sum(table.column(name).type == "agent" for name in table.key) != 2:
        yield f"{said}: `mutual` needs a key that names two agents"
    if column.merge == "once" and table.writers.rule not in ("author", "principal") and table.home is None:
        yield f"{said}: `once` lets whoever is first lock a row, so only its author or a home can have it"
    if column.merge == "decided" and table.home is None:
        yield f"{said}: it is decided by a home, and the table names none"


def _default_faults(column: Column) -> Iterator[str]:
    from antiphon.model import values

    try:
        values.canonical(column, column.default)
    except InvalidInput as error:
        yield f"its default does not fit: {error}"


def _derived_faults(table: Table, column: Column) -> Iterator[str]:
    derived = column.derived
    assert derived is not None
    said = f"column {column.name!r}"
    if derived.function not in _OF_ROWS | _OF_COLUMNS:
        yield f"{said}: {derived.function!r} is no function; there are {', '.join(sorted(_OF_ROWS | _OF_COLUMNS))}"
    if derived.function in _OF_COLUMNS:
        if len(derived.of) != 2 or any(name not in table.by_name for name in derived.of):
            yield f"{said}: a {derived.function} is of two columns of the table"
        elif any(table.column(name).type not in _NUMBERS for name in derived.of):
            yield f"{said}: a {derived.function} is of numbers"
        return
    if not derived.table:
        yield f"{said}: say of which table's rows it is the {derived.function}"
    if len(derived.match) != len(table.key):
        yield f"{said}: `match` has a column of {derived.table!r} for each of {', '.join(table.key)}"
    if derived.function != "count" and not derived.column:
        yield f"{said}: the {derived.function} of what?"
    if derived.function in ("count", "sum") and column.type not in ("integer", "decimal", "duration"):
        yield f"{said}: a {derived.function} is exact: integer, decimal or duration, not {column.type}"


def _index_faults(table: Table, names: list[str]) -> Iterator[str]:
    if len({(index.columns, index.where) for index in table.indexes}) < len(table.indexes):
        yield "two indexes over the same columns"
    for index in table.indexes:
        if not index.columns:
            yield "an index over nothing"
        for name in (*index.columns, *index.include, *(index.where[:1] if index.where else ())):
            if name not in names:
                yield f"an index names {name!r}, which is not a column"
            elif not table.column(name).is_stored and not table.column(name).held:
                yield f"an index names {name!r}, which is computed when it is read"
            elif table.column(name).pii and not table.column(name).blind:
                yield f"an index names {name!r}, which is personal data: use `blind`"
        yield from condition_faults(table, "an index", index.where)
        if index.time_block and table.column(index.columns[0]).type not in ("timestamp", "date"):
            yield f"a time-block index over {index.columns[0]!r}, which is no time"


def _text_faults(table: Table, names: list[str]) -> Iterator[str]:
    if table.subject is not None and table.subject not in names:
        yield f"its subject {table.subject!r} is not a column"
    for column in table.columns:
        if column.held and (column.name != table.subject or not column.nullable or column.default is not None):
            yield f"column {column.name!r} is held by the log, so it must be the subject, nullable and without default"
    indexed = {name for index in table.indexes for name in index.columns}
    if table.subject in indexed and table.column(table.subject).held:
        yield f"column {table.subject!r} is held by the log, so no index can be over it"
    if table.fulltext is None:
        return
    for name in (table.fulltext.text, table.fulltext.time, *filter(None, (table.fulltext.tags,))):
        if name not in names:
            yield f"its full text names {name!r}, which is not a column"
    if table.column(table.fulltext.text).type != "text":
        yield f"full text over {table.fulltext.text!r}, which is not text"
    if table.column(table.fulltext.time).type != "timestamp":
        yield f"the full text's time {table.fulltext.time!r} is not a timestamp"


def _authority_faults(table: Table, names: list[str]) -> Iterator[str]:
    for rule in (table.writers, *(column.writers for column in table.columns if column.writers is not None)):
        if rule.rule not in ("author", "principal", "anyone", "owners", "role"):
            yield f"writers by {rule.rule!r}: there are author, principal, anyone, owners and role"
        for name in rule.columns:
            if name not in names or table.column(name).type != "agent":
                yield f"writers by {name!r}, which is not a column that names an agent"
        yield from _role_faults(table, rule)
    for name in table.access.columns:
        if name not in names or table.column(name).type not in ("agent", "person"):
            yield f"readers by {name!r}, which is not a column that names an agent"
    if table.access.besides is not None:
        name, values = table.access.besides
        if name not in names or table.column(name).type not in ("enum", "text") or not values:
            yield f"readers while {name!r} has some value, which is not a column of words"
        elif table.column(name).values and not set(values) <= set(table.column(name).values):
            yield f"readers while {name!r} has a value that it never has"
    named = table.minted or table.agent_in_key is not None or table.rollup_of is not None
    if table.shared and table.writers.rule not in ("anyone", "role") and not named:
        yield "its key names no agent and is no minted id, so nobody can tell whose rows they are: writers=ANYONE?"
    if table.home is not None and (table.home not in names or table.column(table.home).type != "log"):
        yield f"its home {table.home!r} is not a column of type log"
    if table.home is not None and table.home in names and table.column(table.home).merge != "once":
        yield f"its home {table.home!r} must be written once: whoever could change it would decide"


def _role_faults(table: Table, rule: Writers) -> Iterator[str]:
    if rule.rule != "role":
        if rule.name:
            yield f"writers by {rule.rule} have no role, so not {rule.name!r} either"
        return
    if not isinstance(rule.name, str) or not ROLE.fullmatch(rule.name):
        yield f"writers by the role {rule.name!r}, which is no name: use lower-case letters, digits and _, at most 63"
    if len(rule.columns) > 1:
        yield f"a role is granted by the principal of one agent, not of {' and '.join(rule.columns)}"
    for name in rule.columns:
        if name not in table.key and not table.minted:
            yield (
                f"a role is granted by the principal of {name!r}, which is outside the key: whoever was first to "
                "write a row could choose who may"
            )


def _scope_faults(table: Table) -> Iterator[str]:
    for scope in table.scopes:
        if scope not in ("private", "circle", "public"):
            yield f"it folds events of the scope {scope!r}: there are private, circle and public"
    if len(set(table.scopes)) < len(table.scopes):
        yield "a scope is listed twice"
    if table.shared and "private" in table.scopes:
        yield "it is shared, and shared tables fold no private events: leave `private` out of its scopes"


def _retention_faults(table: Table) -> Iterator[str]:
    kept = table.retention
    if kept is None:
        return
    if kept.column not in table.by_name or table.column(kept.column).type not in ("timestamp", "date"):
        yield f"its retention goes by {kept.column!r}, which is no time"
    if kept.keep_ms < 1:
        yield f"its retention keeps rows for {kept.keep_ms} ms: leave it out where they are kept for ever"


def _graph_faults(table: Table) -> Iterator[str]:
    for name in table.acyclic:
        column = table.by_name.get(name)
        if column is None:
            yield f"without circles along {name!r}, which is not a column"
            continue
        of = column.of if column.type in ("list", "set") else column.type
        if len(table.key) != 1 or of != table.column(table.key[0]).type or not column.is_stored:
            yield f"without circles along {name!r}, which names no rows of the table by their key"
        elif column.type == of and all(index.where is not None or index.columns[0] != name for index in table.indexes):
            yield f"without circles along {name!r}, and no index begins with it, by which links would be found"
        if table.home is not None and column.merge != "decided":
            yield f"without circles along {name!r}: its home can keep them out only where it decides it: merge=DECIDED"


def _rollup_faults(table: Table, rollup: Rollup, names: list[str]) -> Iterator[str]:
    said = f"rollup {rollup.name!r}"
    if rollup.time not in names or table.column(rollup.time).type != "timestamp":
        yield f"{said} goes by {rollup.time!r}, which is no timestamp"
    if rollup.bucket_ms < 1_000:
        yield f"{said} has buckets of less than a second"
    for name in rollup.group:
        if name not in names or table.column(name).type not in _KEYS:
            yield f"{said} groups by {name!r}, which is not a column that can be in a key"
    for measure in rollup.measures:
        if measure.function not in ("mean", "sum", "min", "max", "count"):
            yield f"{said}: {measure.function!r} is no measure; there are mean, sum, min, max, count"
        if measure.function != "count" and (
            measure.column not in names or table.column(measure.column).type not in _NUMBERS
        ):
            what = table.column(measure.column).type if measure.column in names else "nothing that is there"
            yield f"{said}: the {measure.function} of {measure.column!r}, which is {what}"
