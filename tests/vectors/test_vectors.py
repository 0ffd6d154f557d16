"""Our vectors are what the code makes today; the published ones hold for the code and for the second implementation."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from antiphon.identity.signing import SigningKey, decode_statement, is_signed
from antiphon.log import checkpoint
from antiphon.log.leaf import leaf_hash
from antiphon.log.proof import verify_event
from antiphon.log.seeds import Seeds
from antiphon.log.tree import (
    EMPTY_ROOT,
    check_consistency,
    consistency_path,
    inclusion_path,
    root_from_inclusion,
    root_of,
)
from antiphon.model import note
from antiphon.model.errors import AntiphonError
from antiphon.model.event import decode_header, encode_header
from antiphon.model.text import EntityIds
from antiphon.replica.archive import read_archive, verify_archive
from tests.second import ed25519 as second_ed25519
from tests.second import msgpack, reader
from tests.vectors import make

b = bytes.fromhex


def load(name: str) -> Any:
    return json.loads((make.FOLDER / f"{name}.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return make.build()


OURS = ["headers", "leaves", "seeds", "tree", "notes", "statements", "ids", "proof"]


@pytest.mark.parametrize("name", OURS)
def test_the_code_still_makes_these_bytes(made: dict[str, str], name: str) -> None:
    assert made[f"{name}.json"] == (make.FOLDER / f"{name}.json").read_text("utf-8")


def test_the_code_still_makes_this_archive(made: dict[str, str], tmp_path: Path) -> None:
    """Compared behind zstd, whose bytes another release of the library may choose otherwise."""
    fresh, kept = json.loads(made["archive.json"]), load("archive")
    found = []
    for number, vector in enumerate((fresh, kept)):
        place = tmp_path / str(number)
        place.write_bytes(base64.b64decode(vector.pop("archive_base64")))
        found.append([(head, [(part.leaves, part.seeds) for part in parts]) for head, parts in read_archive(place)])
    assert found[0] == found[1]
    assert fresh == kept


def test_headers_are_accepted_and_refused_by_both() -> None:
    vectors = load("headers")
    for vector in vectors["accepted"]:
        raw = b(vector["bytes"])
        assert encode_header(decode_header(raw)) == raw
        fields = reader.header_of(raw)
        assert (str(fields[1]), fields[3]) == (vector["hlc"], vector["kind"])
    for vector in vectors["refused"]:
        with pytest.raises(AntiphonError):
            decode_header(b(vector["bytes"]))
        with pytest.raises(reader.Refused):
            reader.header_of(b(vector["bytes"]))


def test_leaves() -> None:
    for vector in load("leaves"):
        inner = hashlib.sha256(b"\2" + b(vector["salt"]) + b(vector["body"])).digest()
        assert inner.hex() == vector["body_hash"]
        raw = b"\0" + b(vector["blind"]) + b(vector["header"]) + inner
        assert hashlib.sha256(raw).hexdigest() == vector["leaf"]
        assert leaf_hash(b(vector["blind"]), b(vector["header"]), inner).hex() == vector["leaf"]


def test_seeds_before_and_after() -> None:
    vector = load("seeds")
    log, first = b(vector["log"]), vector["first"]
    for packed, values in (
        (vector["seed"], vector["values"]),
        (vector["packed_after_destroying"], vector["values_after"]),
    ):
        ours = Seeds(log, first, b(packed))
        blinds, salts = reader.blinds_and_salts(b(packed), log, first)
        for value in values:
            wanted = tuple(None if one is None else b(one) for one in (value["blind"], value["salt"]))
            assert ours.of(value["seq"]) == wanted == (blinds[value["seq"] - first], salts[value["seq"] - first])
    gone = [value["seq"] for value in vector["values_after"] if value["blind"] is None]
    assert gone
    assert set(gone) <= set(vector["destroyed"])
    blinds, _ = reader.blinds_and_salts(b(vector["given_with_70_leaves"]), log, first)
    assert [value is not None for value in blinds] == [True] * 70 + [False] * 954


def test_tree() -> None:
    vector = load("tree")
    leaves = [b(leaf) for leaf in vector["leaves"]]
    for one in vector["roots"]:
        assert reader.root(leaves[: one["size"]]).hex() == one["root"]
    for one in vector["inclusion"]:
        path = [b(node) for node in one["path"]]
        found = reader.climb(leaves[one["seq"]], one["seq"], one["size"], path)
        assert found == reader.root(leaves[: one["size"]])
    for one in vector["consistency"]:
        old, new = one["old"], one["new"]
        roots = reader.root(leaves[:old]), reader.root(leaves[:new])
        assert reader.is_prefix(old, roots[0], new, roots[1], [b(node) for node in one["path"]])


def test_checkpoints() -> None:
    vector = load("notes")
    log, key = b(vector["log"]), b(vector["public_key"])
    for one in vector["checkpoints"]:
        wanted = (one["size"], b(one["root"]))
        ours = checkpoint.verify(one["note"].encode(), key, log_id=log)
        assert (ours.size, ours.root) == wanted == reader.checkpoint(one["note"].encode(), key, log)


def test_statements() -> None:
    vector = load("statements")
    for one in vector["statements"]:
        theirs = reader.Statement(b(one["encoded"]))
        ours = decode_statement(b(one["encoded"]))
        assert theirs.id == ours.id == b(one["id"])
        assert theirs.signed == b(one["signed_bytes"])
        assert theirs.is_sound()
    for key in vector["keys"].values():
        assert second_ed25519.public(b(key["seed"])).hex() == key["public"] == SigningKey(b(key["seed"])).public.hex()


def test_ids() -> None:
    vector = load("ids")
    log = b(vector["log"])
    for one in vector["entities"]:
        place = int(one["hlc"]), one["seq"], one["n"]
        assert reader.entity_id(log, *place) == EntityIds(log).of(*place) == b(one["id"])
        assert one["id"][12] == "7"
    assert reader.id_text(log) == vector["log_text"]


def test_the_proof_and_the_archive_verify(tmp_path: Path) -> None:
    vector = load("proof")
    raw = vector["file"].encode()
    ours = verify_event(raw, principal=b(vector["principal"]))
    theirs = reader.verify_proof(raw, b(vector["principal"]))
    assert (ours.log, ours.seq, ours.body.hex()) == (b(vector["log"]), vector["seq"], vector["body"])
    assert (theirs["log"], theirs["seq"], msgpack.write(theirs["body"]).hex()) == (ours.log, ours.seq, vector["body"])
    vector = load("archive")
    place = tmp_path / "all.archive"
    place.write_bytes(base64.b64decode(vector["archive_base64"]))
    wanted = [(b(log["log"]), log["size"], b(log["root"])) for log in vector["logs"]]
    assert [(log["log"], log["size"], log["root"]) for log in reader.verify_archive(place)] == wanted
    assert [(one.log, one.size, one.root) for one in verify_archive(place) if one.ok] == wanted
    assert reader.verify_archive(place)[1]["gone"] == 1


# -- published vectors ---------------------------------------------------------------------------------------------


def test_rfc_6962() -> None:
    vector = load("rfc6962")
    leaves = [hashlib.sha256(b"\0" + b(leaf)).digest() for leaf in vector["leaves"]]
    assert EMPTY_ROOT.hex() == vector["roots"][0]
    for size, root in enumerate(vector["roots"]):
        assert root_of(leaves[:size]).hex() == root

    def subtree(first: int, last: int) -> bytes:
        return root_of(leaves[first:last])

    for one in vector["inclusion"]:
        path = [b(node) for node in one["path"]]
        assert inclusion_path(one["leaf"], one["size"], subtree) == path
        root = root_from_inclusion(leaves[one["leaf"]], one["leaf"], one["size"], path)
        assert root.hex() == vector["roots"][one["size"]]
    for one in vector["consistency"]:
        path = [b(node) for node in one["path"]]
        assert consistency_path(one["old"], one["new"], subtree) == path
        roots = b(vector["roots"][one["old"]]), b(vector["roots"][one["new"]])
        assert check_consistency(old=one["old"], old_root=roots[0], new=one["new"], new_root=roots[1], path=path)


@pytest.mark.parametrize("number", range(4))
def test_rfc_8032(number: int) -> None:
    vector = load("ed25519")["rfc8032"][number]
    key, message = SigningKey(b(vector["seed"])), b(vector["message"])
    assert key.public.hex() == vector["public"]
    assert key.sign(message).hex() == vector["signature"] == second_ed25519.sign(key.seed, message).hex()
    for check in (is_signed, second_ed25519.is_signed):
        assert check(message, b(vector["signature"]), key.public)
        assert not check(message + b"\0", b(vector["signature"]), key.public)


@pytest.mark.parametrize("number", range(12))
def test_one_strict_rule(number: int) -> None:
    vector = load("ed25519")["speccheck"][number]
    parts = b(vector["message"]), b(vector["signature"]), b(vector["public"])
    assert is_signed(*parts) is second_ed25519.is_signed(*parts) is vector["accepted"], vector["what"]


def test_shake_256() -> None:
    for vector in load("shake256"):
        assert hashlib.shake_256(b(vector["message"])).hexdigest(64) == vector["output"]


def test_a_published_signed_note() -> None:
    """Key id, what is signed and the signature line are those of the published example."""
    vector = load("signed_note")
    public = base64.b64decode(vector["verifier_key_base64"])[1:]
    key = SigningKey(base64.b64decode(vector["signer_key_base64"])[1:])
    assert key.public == public
    assert note.key_id(vector["name"], public).hex() == vector["key_id"]
    line = base64.b64decode(vector["signature_base64"])
    assert line == note.key_id(vector["name"], public) + key.sign(vector["text"].encode())
    assert note._signature(f"— {vector['name']} {vector['signature_base64']}\n", vector["name"], line[:4]) == line[4:]
