"""A declaration that contradicts itself is refused when it is made, and says in which column and why."""

from typing import Any

import msgspec
import pytest

from antiphon import Column, Index, InvalidInput, Table, Type
from antiphon.model.places import (
    FOREVER,
    Analyzer,
    Archive,
    Cache,
    Edge,
    Filter,
    Nested,
    Node,
    Places,
    Search,
    Stream,
    Vectors,
)
from antiphon.model.table import READ_ALL, Merge, Retention

COLUMNS = (
    Column("id", Type.ID, nullable=False),
    Column("name", Type.TEXT),
    Column("email", Type.TEXT, pii=True),
    Column("phone", Type.TEXT, pii=True, blind=True),
    Column("state", Type.ENUM, values=("new", "old")),
    Column("owner", Type.AGENT),
    Column("parent", Type.ID),
    Column("parts", Type.LIST, of=Type.ID),
    Column("at", Type.TIMESTAMP),
    Column("data", Type.JSON),
    Column("home", Type.LOG, merge=Merge.ONCE),
    Column("slot", Type.TEXT, merge=Merge.DECIDED),
)
WITHOUT_HOME = COLUMNS[:-2]


def table(*, columns: tuple[Column, ...] = WITHOUT_HOME, **more: Any) -> Table:
    return Table("things", "id", columns, **more)


def at(*places: Any) -> dict[str, Any]:
    kinds = {Node: "nodes", Edge: "edges", Cache: "caches", Stream: "streams", Vectors: "vectors"}
    single = {Search: "search", Archive: "archive"}
    found: dict[str, Any] = {}
    for place in places:
        if type(place) in single:
            found[single[type(place)]] = place
        else:
            found[kinds[type(place)]] = (*found.get(kinds[type(place)], ()), place)
    return {"places": Places(**found)}


def analyzed(*filters: Filter, tokenizer: str = "standard", column: str = "name") -> dict[str, Any]:
    return at(Search(((column, Analyzer("mine", tokenizer, filters)),)))


BY_NAME, BY_PARENT = (Index(("name",)),), (Index(("parent",)),)
OWNED = Edge("OWNS", "owner", "id", "Agent", "Thing")

FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "a scope that is none": ({"scopes": ("secret",)}, "scope 'secret': there are private, circle and public"),
    "a scope twice": ({"scopes": ("public", "public")}, "a scope is listed twice"),
    "shared and private": ({"shared": True, "scopes": ("private", "public")}, "leave `private` out of its scopes"),
    "unique over nothing": ({"unique": ((),)}, "unique over nothing: "),
    "unique over what is not there": ({"unique": (("nick",),)}, "unique over 'nick', which is not a column"),
    "unique over JSON": ({"unique": (("data",),)}, "unique over 'data', which is not stored with the row, or has no"),
    "unique over the key": ({"unique": (("id", "name"),), "indexes": (Index(("id", "name")),)}, "so by itself"),
    "unique without an index": ({"unique": (("name",),)}, "without an index that begins so"),
    "unique by a partial index": (
        {"unique": (("name",),), "indexes": (Index(("name",), where=("state", "new")),)},
        "without an index that begins so",
    ),
    "unique over an email": ({"unique": (("email",),), "indexes": BY_NAME}, "'email', which is personal data that"),
    "unique and not for the home": (
        {"columns": COLUMNS, "home": "home", "unique": (("name",),), "indexes": BY_NAME},
        "unique over 'name': its home can keep that alone where it decides it",
    ),
    "no circles along nothing": ({"acyclic": ("up",)}, "along 'up', which is not a column"),
    "no circles along a name": ({"acyclic": ("name",)}, "'name', which names no rows of the table by their key"),
    "no circles along others": ({"acyclic": ("owner",)}, "'owner', which names no rows of the table"),
    "no circles without an index": ({"acyclic": ("parent",)}, "'parent', and no index begins with it"),
    "circles not for the home": (
        {"columns": COLUMNS, "home": "home", "acyclic": ("parent",), "indexes": BY_PARENT},
        "'parent': its home can keep them out only where it decides it",
    ),
    "an index over an email": ({"indexes": (Index(("email",)),)}, "an index names 'email', which is personal data"),
    "an index for nothing": ({"indexes": (Index(("name",), where=("state", ())),)}, "lets no value pass"),
    "an index for no value": ({"indexes": (Index(("name",), where=("state", "lost")),)}, "never is there: .*state"),
    "an index for a number": ({"indexes": (Index(("name",), where=("at", "now")),)}, "that never is there: .*'at'"),
    "a retention of nothing": ({"retention": Retention("at", 0)}, "keeps rows for 0 ms"),
    "a retention by a name": ({"retention": Retention("name", 1)}, "by 'name', which is no time"),
    "a topic for ever": (at(Stream("t", 1, FOREVER, ("k",))), "'t' is kept for ever .* declare it `sealed`"),
    "a topic by an email": (at(Stream("t", 1, by=("email",))), "goes by 'email', which is personal data"),
    "a cache by an email": (at(Cache("thing:{email}")), "has 'email' in its key, which is personal data"),
    "a cache of nothing": (at(Cache("thing:{nick}")), "names 'nick', which is not a column"),
    "a cache twice": (at(Cache("thing:{id}"), Cache("thing:{id}", ("name",))), "'thing:{id}' is declared twice"),
    "a cache for no time": (at(Cache("thing:{id}", ttl_ms=0)), "for 0 ms: more than 0 and at most 86400000 .CACHED_MS"),
    "a cache for two days": (at(Cache("thing:{id}", ttl_ms=2 * 86_400_000)), "kept for 172800000 ms"),
    "a cache for the engine": (at(Cache("row:{id}")), "'row:{id}' is for the engine itself"),
    "a cache in one part": (at(Cache("thing-{id}")), "'thing-{id}' begins with a word, and has each column alone"),
    "a cache of two in one": (at(Cache("thing:{id}-{name}")), "'thing:{id}-{name}' begins with a word, and has each"),
    "a cache by a value first": (at(Cache("{id}:fence")), "'{id}:fence' begins with a word, and has each column"),
    "a cache without a name": (at(Cache("", where=("id", "x"))), "cache '' is for the engine itself"),
    "a cache while never": (at(Cache("things", ("id",), shape="set", where=("state", "lost"))), "that never is there"),
    "a cache while nothing": (at(Cache("things", ("id",), shape="set", where=("mood", "x"))), "names 'mood'"),
    "a cache while an email": (at(Cache("things", ("id",), shape="set", where=("email", "x"))), "by 'email', which is"),
    "a set of everything": (at(Cache("things", shape="set")), "a set of what. `of` names the one column"),
    "a set of emails": (at(Cache("things", ("email",), shape="set")), "members of 'email', which is personal data"),
    "a set of lists": (at(Cache("things", ("parts",), shape="set")), "members of 'parts', which is not one value"),
    "a key for all rows": (at(Cache("things", ("name",))), "shared by rows that differ in id: `latest` says which"),
    "a key for some rows": (at(Cache("owner:{owner}", where=("state", "new"))), "shared by rows that differ in id"),
    "the latest by a name": (at(Cache("things", latest="name")), "the latest by 'name', which is no timestamp and no"),
    "the latest by nothing": (at(Cache("things", latest="when")), "names 'when', which is not a column"),
    "the latest of a set": (at(Cache("things", ("id",), shape="set", latest="at")), "is a set, which has all rows"),
    "a cache since a name": (at(Cache("thing:{id}", since="name")), "lasts from 'name', which is no timestamp"),
    "too many caches": (at(*(Cache(f"thing:{n}:{{id}}") for n in range(33))), "it has 33 caches: 32 at most"),
    "an edge of many rows": (at(Edge("OWNS", "owner", "parent", "Agent", "Thing")), "the same for rows that differ in"),
    "an edge twice": (at(OWNED, msgspec.structs.replace(OWNED, source="parts")), "is declared twice"),
    "an edge while never": (at(msgspec.structs.replace(OWNED, where=("state", "lost"))), "'OWNS' is for a value that"),
    "an edge while nothing": (at(msgspec.structs.replace(OWNED, where=("mood", "x"))), "names 'mood'"),
    "an edge while an email": (at(msgspec.structs.replace(OWNED, where=("email", "x"))), "by 'email', which is pers"),
    "words of a number": (analyzed(column="at"), "analyzes 'at', which is no text"),
    "words of an email": (analyzed(column="email"), "analyzes 'email', which is personal data and comes as ciphertext"),
    "no such tokenizer": (analyzed(tokenizer="blank"), "cuts words by 'blank': there are standard, whitespace"),
    "no such filter": (analyzed(Filter("f", "upper")), "filter 'f' does 'upper': there are lowercase, parts"),
    "two filters of a name": (analyzed(Filter("f", "lowercase"), Filter("f", "lowercase")), "two filters of one name"),
    "a synonym of itself": (analyzed(Filter("f", "synonyms", (("a",),))), "groups of two words or more"),
    "synonyms elsewhere": (analyzed(Filter("f", "lowercase", (("a", "b"),))), "nothing else has them"),
    "parts without a group": (analyzed(Filter("f", "parts", patterns=("a+",))), "has no group, so it finds no part"),
    "parts that are none": (analyzed(Filter("f", "parts", patterns=("(a",))), "is none: missing"),
    "stems of nothing": (analyzed(Filter("f", "stem")), "are of a language"),
    "nested in a name": (at(Search(nested=(Nested("name", (("a", "text"),)),))), "'name' nested, which is no JSON"),
    "nested without fields": (at(Search(nested=(Nested("data", ()),))), "name each of its fields, once"),
    "a nested field of no type": (at(Search(nested=(Nested("data", (("a", "word"),)),))), "its field 'a' is a 'word'"),
    "a name for nothing": (at(Node("T", names=(("nick", "n"),))), "calls 'nick' 'n', and there is no such column"),
    "a name for another": (at(Node("T", names=(("name", "n"),))), "calls 'name' 'n', and has no such column"),
    "a name that is none": (at(Node("T", names=(("id", "my id"),))), "a name that engines refuse"),
    "two names for one": (at(Node("T", names=(("id", "a"), ("id", "b")))), "calls 'id' 'a', and something else too"),
    "one name for two": (at(Node("T", ("name",), names=(("id", "name"),))), "calls two columns 'name'"),
    "an end as a property": (at(msgspec.structs.replace(OWNED, names=(("owner", "who"),))), "and has no such column"),
}  # fmt: skip


@pytest.mark.parametrize("what", FAULTS)
def test_a_contradiction_is_refused_by_name(what: str) -> None:
    more, said = FAULTS[what]
    with pytest.raises(InvalidInput, match="table 'things': .*" + said):
        table(**more)


def test_personal_data_is_no_key() -> None:
    columns = (Column("email", Type.TEXT, nullable=False, pii=True, blind=True),)
    with pytest.raises(InvalidInput, match="its key 'email' is personal data"):
        Table("things", "email", columns)


SOUND: dict[str, dict[str, Any]] = {
    "personal data found by equality": {"unique": (("phone",),), "indexes": (Index(("phone",)),)},
    "a home that gives names": {
        "columns": COLUMNS, "home": "home", "unique": (("slot",),), "indexes": (Index(("slot",)),),
    },
    "no circles in a list": {"acyclic": ("parts",)},
    "a topic for ever, sealed": at(Stream("t", 1, FOREVER, ("k",), sealed=True)),
    "a topic for ever, compacted": at(Stream("t", 1, FOREVER, compaction=True)),
    "one edge, while it is so": at(msgspec.structs.replace(OWNED, where=("state", ("new", "old")))),
    "an index of what has nothing": {"indexes": (Index(("name",), where=("at", None)),)},
}  # fmt: skip


@pytest.mark.parametrize("what", SOUND)
def test_what_is_no_contradiction_is_taken(what: str) -> None:
    assert table(**SOUND[what]).name == "things"


# -- what a declaration says, short ----------------------------------------------------------------------------------


def test_scopes_are_all_that_a_table_may_fold_unless_it_says_less() -> None:
    assert table().scopes == ("private", "circle", "public")
    assert table(shared=True).scopes == ("circle", "public")
    assert table(shared=True).fingerprint == table(shared=True, scopes=("public", "circle")).fingerprint
    assert table(scopes=("public",)).scopes == ("public",)
    less = [table(), table(scopes=("private",)), table(scopes=("private", "circle")), table(shared=True)]
    assert len({one.fingerprint for one in less}) == len({one.shape for one in less}) == 4


def test_where_rows_are_kept_and_what_is_listed_changes_no_row() -> None:
    columns = tuple(msgspec.structs.replace(column, pii=False, blind=False, doc="x") for column in WITHOUT_HOME)
    plain, more = table(indexes=BY_NAME), table(
        columns=columns, indexes=BY_NAME, unique=(("name",),), access=READ_ALL, doc="x", **at(Archive("at"), Node("T"))
    )  # fmt: skip
    assert plain.shape == more.shape
    assert plain.fingerprint != more.fingerprint


def test_a_place_calls_columns_as_its_readers_do() -> None:
    node = Node("Agent", ("codename", "role"), names=(("codename", "name"), ("role", "sacred_role")))
    assert [node.name_of(name) for name in ("id", *node.properties)] == ["id", "name", "sacred_role"]
    assert [node.column_of(name) for name in ("id", "name", "sacred_role")] == ["id", "codename", "role"]
    assert Cache("agent:{agent_id}:{role}", names=(("id", "agent_id"),)).columns == ["id", "role"]
