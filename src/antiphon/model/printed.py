"""Room `model` (pure; imports `model` alone): a table's declaration in words, for terminals and pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from antiphon.model.dashboard import Condition, Dashboard, Figure
from antiphon.model.places import Analyzer, Edge, Filter, Nested, accepted_by
from antiphon.model.table import (
    SCOPES,
    Access,
    Check,
    Column,
    Derived,
    FullText,
    Index,
    Merge,
    Rollup,
    Table,
    Type,
    Writers,
)
from antiphon.model.text import entity_text, id_text

_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1))
_IN_ARROW: Final = frozenset({"type", "source", "target", "source_label", "target_label"})


def duration(ms: int) -> str:
    """A length of time in its largest whole unit."""
    unit, size = next((unit, size) for unit, size in _UNITS if ms % size == 0)
    return f"{ms // size} {unit}"


def type_text(column: Column) -> str:
    """What a column holds."""
    match column.type:
        case Type.ENUM:
            return f"enum ({', '.join(column.values)})"
        case Type.DECIMAL:
            return f"decimal({column.precision}, {column.scale})"
        case Type.VECTOR:
            return f"vector({column.size})"
        case Type.LIST | Type.SET | Type.MAP if column.of is not None:
            return f"{column.type} of {column.of}"
        case _:
            return str(column.type)


def merge_text(column: Column) -> str:
    """Which of several writes counts."""
    match column.merge:
        case Merge.HIGHEST:
            return f"highest {column.by}, at most {column.ceiling}"
        case Merge.MUTUAL:
            return f"mutual benefit, by {column.by}"
        case _:
            return column.merge.replace("_", " ")


def writers_text(writers: Writers) -> str:
    """Whose events may write."""
    if writers.rule == "role":
        by = f"the principal of {writers.columns[0]}" if writers.columns else "a principal that the file trusts"
        return f"role {writers.name}, granted by {by}"
    return f"author and {', '.join(writers.columns)}" if writers.columns else writers.rule


def access_text(access: Access) -> str:
    """Who may read a row."""
    said = f"author and {', '.join(access.columns)}" if access.columns else access.rule
    return said if access.besides is None else f"{said}; all while {condition_text(access.besides)}"


def check_text(check: Check) -> str:
    """What a value must be."""
    said = []
    if check.least is not None:
        said.append(f"at least {check.least}")
    if check.above is not None:
        said.append(f"above {check.above}")
    if check.most is not None:
        said.append(f"at most {check.most}")
    if check.length_max is not None:
        said.append(f"length at most {check.length_max:,}")
    if check.among:
        said.append(f"one of {', '.join(map(str, check.among))}")
    return ", ".join(said)


def derived_text(derived: Derived) -> str:
    """What a column that nobody writes is made of."""
    if derived.of:
        one, other = derived.of
        if derived.function == "beta":
            return f"(1 + {one}) / (2 + {one} + {other})"
        return f"{one} / {other}" if derived.function == "ratio" else f"{one} × {other}"
    what = f"{derived.table}.{derived.column}" if derived.column else f"rows of {derived.table}"
    where = "".join(f", where {name} is {_value(value)}" for name, value in derived.where)
    return f"{derived.function} of {what} by {', '.join(derived.match)}{where}"


def notes_of(table: Table, column: Column) -> list[str]:
    """All that is declared of a column besides its type."""
    notes = []
    if column.name in table.key:
        notes.append("key")
    if column.derived is not None:
        notes.append(f"derived: {derived_text(column.derived)}")
    elif column.name not in table.key:
        if not column.nullable and column.default is None:
            notes.append("required")
        elif not column.nullable:
            notes.append("never null")
        notes.append(merge_text(column))
    if column.default is not None:
        notes.append(f"default {_value(column.default)}")
    if column.check is not None:
        notes.append(check_text(column.check))
    if column.references is not None:
        notes.append(f"references {column.references}")
    if column.writers is not None:
        notes.append(f"written by {writers_text(column.writers)}")
    if column.pii:
        notes.append("personal, found by equality" if column.blind else "personal")
    if column.held:
        notes.append("held by the log")
    if table.home == column.name:
        notes.append("names the home")
    return notes


def _value(value: Any) -> str:
    if value is None:
        return "null"
    return msgspec.json.encode(value).decode() if isinstance(value, str | bool | list | dict | tuple) else str(value)


def index_text(index: Index) -> str:
    """One index."""
    said = ", ".join(index.columns) + (" descending" if index.descending else "")
    if index.where is not None:
        said += f", where {condition_text(index.where)}"
    if index.include:
        said += f", covering {', '.join(index.include)}"
    return said + (", by blocks of time" if index.time_block else "")


def fulltext_text(spec: FullText) -> str:
    """What full text finds."""
    return f"{spec.text}, dated by {spec.time}" + (f", with {spec.tags}" if spec.tags else "")


def rollup_text(rollup: Rollup) -> str:
    """One table of figures."""
    measures = ", ".join(
        measure.name + (f" = {measure.function}" + (f" of {measure.column}" if measure.column else ""))
        for measure in rollup.measures
    )
    group = f" and {', '.join(rollup.group)}" if rollup.group else ""
    return f"{rollup.name}: {measures} by {duration(rollup.bucket_ms)} of {rollup.time}{group}"


def figure_text(figure: Figure) -> str:
    """One figure of a dashboard."""
    of = f"{figure.table}.{figure.column}" if figure.column else f"rows of {figure.table}"
    said = f"{figure.function} of {of}" + (f" by {figure.by}" if figure.by else "")
    said += "".join(f", where {_condition_text(condition)}" for condition in figure.where)
    return said + (f", for each {figure.group}" if figure.group else "")


def _condition_text(condition: Condition) -> str:
    match condition.test:
        case "newer":
            return f"{condition.column} is in the last {duration(condition.ms)}"
        case "unlike":
            return f"{condition.column} is not {' or '.join(map(_value, condition.values))}"
    return condition_text((condition.column, condition.values[0]))


def facts_of_dashboard(dashboard: Dashboard) -> Iterator[tuple[str, str]]:
    """Everything declared of a dashboard, as (label, text)."""
    for figure in dashboard.figures:
        yield figure.name, figure_text(figure) + (f" ({figure.doc})" if figure.doc else "")
    yield "fingerprint", dashboard.fingerprint


def key_text(table: Table, row: Mapping[str, Any]) -> str:
    """The key of a row, as people name it."""
    shown = {name: value_text(table.column(name), row[name]) for name in table.key}
    return (
        next(iter(shown.values())) if len(shown) == 1 else ", ".join(f"{name}={text}" for name, text in shown.items())
    )


def value_text(column: Column, value: Any) -> str:
    """A value in one line: ids as they are typed."""
    if isinstance(value, bytes) and column.type in (Type.ID, Type.PERSON):
        return entity_text(value)
    if isinstance(value, bytes) and column.type in (Type.AGENT, Type.LOG):
        return id_text(value)
    return str(value)


def condition_text(where: tuple[str, Any]) -> str:
    """A condition that a column has this value, or one of these."""
    return f"{where[0]} is {' or '.join(map(_value, accepted_by(where)))}"


def place_text(place: Any) -> str:
    """What a place says that columns do not."""
    said = []
    if isinstance(place, Edge):
        ends = f"(:{place.source_label})-[:{place.type}]->(:{place.target_label})"
        said.append(f"{ends} from {place.source} to {place.target}")
    for name in place.__struct_fields__:
        value = getattr(place, name)
        if value in (None, (), "", False) and name != "retention_ms":
            continue
        if isinstance(place, Edge) and name in _IN_ARROW:
            continue
        if name.endswith("_ms"):
            said.append(f"{name.removesuffix('_ms')} {duration(value) if value else 'for ever'}")
        elif name == "where":
            said.append(f"where {condition_text(value)}")
        elif name == "names":
            said.append(", ".join(f"{column} as {given}" for column, given in value))
        elif name == "sealed":
            said.append("sealed by the subject's key")
        elif value is True:
            said.append(name)
        elif isinstance(value, tuple):
            said.append(f"{name} " + ", ".join(map(_item_text, value)))
        else:
            said.append(f"{name} {value}")
    return "; ".join(said) or "with nothing special"


def _item_text(item: Any) -> str:
    """One of several things that a place lists."""
    if isinstance(item, Nested):
        return f"{item.column} ({', '.join(f'{name} {kind}' for name, kind in item.fields)})"
    if isinstance(item, tuple):
        return " by ".join(one.name if isinstance(one, Analyzer) else str(one) for one in item)
    return str(item)


def analyzer_text(analyzer: Analyzer) -> str:
    """How a text becomes words."""
    steps = "".join(f"; {filter_text(step)}" for step in analyzer.filters)
    return f"{analyzer.name}: {analyzer.tokenizer} words{steps}"


def filter_text(step: Filter) -> str:
    """One step of an analyzer."""
    said = {
        "synonyms": f"synonyms {', '.join(' = '.join(group) for group in step.synonyms)}",
        "parts": f"parts by {' and '.join(step.patterns)}",
        "stop": f"no stop words of {step.language}",
        "stem": f"stems of {step.language}",
    }.get(step.does, step.does)
    return said if said == step.name else f"{step.name} ({said})"


def places_short(table: Table) -> str:
    """The sorts of engines that a table has a place in."""
    return ", ".join(dict.fromkeys(name for name, _ in table.places.named()))


def _kept_by(table: Table) -> str:
    return "listed where it is not so" if table.home is None else "kept by the home"


def facts_of(table: Table) -> Iterator[tuple[str, str]]:
    """Everything declared of a table but its columns, as (label, text)."""
    yield "key", ", ".join(table.key) + (" (the event's own id)" if table.minted else "")
    if table.rollup_of is not None:
        yield "rollup of", table.rollup_of
    yield "writers", writers_text(table.writers)
    yield "read by", access_text(table.access)
    if table.rollup_of is None:
        of = "of every log" if table.shared else "of the file's own agents"
        scopes = "of every scope" if table.scopes == SCOPES else " and ".join(table.scopes)
        yield "events", f"{scopes}, {of}"
    if table.home is not None:
        yield "home", table.home
    yield "placed by", ", ".join(table.shard_columns)
    if table.subject is not None:
        yield "quoted by", table.subject
    if table.retention is not None:
        yield "kept", f"{duration(table.retention.keep_ms)} from {table.retention.column}"
    for columns in table.unique:
        yield "unique", f"{', '.join(columns)}: {_kept_by(table)}"
    for name in table.acyclic:
        yield "no circles", f"along {name}: {_kept_by(table)}"
    for index in table.indexes:
        yield "index", index_text(index)
    if table.fulltext is not None:
        yield "full text", fulltext_text(table.fulltext)
    for rollup in table.rollups:
        yield "rollup", rollup_text(rollup)
    for name, place in table.places.named():
        yield name, place_text(place)
    for analyzer in table.places.analyzers():
        yield "analyzer", analyzer_text(analyzer)
    yield "fingerprint", table.fingerprint
