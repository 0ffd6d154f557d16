"""Writes our own vectors: `python -m tests.vectors.make`. The same bytes every time; a test compares them.

Keys and seeds come from SeededEntropy, times from ManualClock. Bytes are hexadecimal unless a name says otherwise.
The published vectors beside them (rfc6962, ed25519, shake256, signed_note) are not made here.
"""

import base64
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from antiphon.engines.keyfiles import KeyRing, Unlock
from antiphon.identity import statements as said
from antiphon.identity.signing import SigningKey, Statement
from antiphon.log import checkpoint
from antiphon.log.leaf import body_hash, leaf_hash
from antiphon.log.seeds import Seeds
from antiphon.log.tree import Frontier, consistency_path, inclusion_path, root_of
from antiphon.model.event import NEW, Draft, Header, Ref, Role, Scope, encode_body, encode_header
from antiphon.model.note import Checkpoint, key_id, origin
from antiphon.model.text import EntityIds, entity_text, event_text, id_text, natural_id
from antiphon.replica import archive, enrol, prove
from antiphon.replica import forget as forgetting
from antiphon.replica.commit import Batch
from antiphon.replica.core import Replica
from antiphon.views.domain import Registry
from antiphon.world.clock import ManualClock
from antiphon.world.entropy import SeededEntropy
from antiphon.world.host import Host

FOLDER = Path(__file__).parent
NOW = 1_750_000_000_000
HLC = NOW << 16
LOG = bytes(range(32))
PERSON, OTHER, ENTITY, CIRCLE = (bytes([n]) * 16 for n in (0x11, 0x22, 0x33, 0x44))


def plain(value: Any) -> Any:
    """The same with bytes in hexadecimal, as JSON can hold it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def header(**changes: Any) -> Header:
    fields: dict[str, Any] = {
        "version": 1, "hlc": HLC, "occurred": None, "kind": "example.said", "kind_version": 1, "entity": None,
        "about": None, "scope": Scope.PRIVATE, "circle": None, "refs": None,
    }  # fmt: skip
    return Header(**{**fields, **changes})


def headers() -> Any:
    ref = Ref(Role.SOURCE, LOG, 7, b"\xee" * 32)
    far = Ref(Role.REPLY, LOG, (1 << 40) - 1, b"\xdd" * 32)
    taken = {
        "least": header(),
        "zero": header(hlc=0, kind="a"),
        "latest": header(hlc=(1 << 63) - 1, kind_version=65_535),
        "occurred before 1970": header(occurred=-1),
        "occurred long ago": header(occurred=-(1 << 53)),
        "entity": header(entity=ENTITY),
        "people": header(about=(PERSON, OTHER)),
        "circle": header(scope=Scope.CIRCLE, circle=CIRCLE),
        "public with refs": header(scope=Scope.PUBLIC, refs=(far, ref, ref)),
        "kind in any script": header(kind="пример.сказано"),
    }
    base = encode_header(header())
    refused = {
        "empty": b"",
        "cut short": base[:-1],
        "a byte behind": base + b"\xc0",
        "version 2": encode_header(header(version=2)),
        "a longer integer": base.replace(b"\x9a\x01", b"\x9a\xcc\x01", 1),
        "a longer array head": b"\xdc\x00\x0a" + base[1:],
        "a longer string head": base.replace(b"\xacexample.said", b"\xd9\x0cexample.said"),
        "a float for an integer": base.replace(b"\x9a\x01", b"\x9a\xcb\x3f\xf0\0\0\0\0\0\0", 1),
        "nan": base.replace(b"\x9a\x01", b"\x9a\xcb\x7f\xf8\0\0\0\0\0\0", 1),
        "an extension": base.replace(b"\x9a\x01", b"\x9a\xd4\x01\x01", 1),
        "a lone surrogate": base.replace(b"\xacexample.said", b"\xa3\xed\xa0\x80"),
        "eleven fields": b"\x9b" + base[1:] + b"\xc0",
        "nine fields": b"\x99" + base[1:-1],
        "hlc of 64 bits": encode_header(header(hlc=1 << 63)),
        "hlc below zero": encode_header(header(hlc=-1)),
        "occurred past 53 bits": encode_header(header(occurred=(1 << 53) + 1)),
        "no kind": encode_header(header(kind="")),
        "a kind too long": encode_header(header(kind="k" * 129)),
        "kind version 0": encode_header(header(kind_version=0)),
        "an entity of 15 bytes": encode_header(header(entity=bytes(15))),
        "people out of order": encode_header(header(about=(OTHER, PERSON))),
        "the same person twice": encode_header(header(about=(PERSON, PERSON))),
        "nobody": encode_header(header(about=())),
        "scope 3": encode_header(header(scope=3)),
        "a circle that is private": encode_header(header(circle=CIRCLE)),
        "a scope without its circle": encode_header(header(scope=Scope.CIRCLE)),
        "no refs": encode_header(header(refs=())),
        "ref role 4": encode_header(header(refs=(Ref(4, LOG, 0, bytes(32)),))),
        "a ref past every log": encode_header(header(refs=(Ref(0, LOG, 1 << 40, bytes(32)),))),
        "a ref with a short hash": encode_header(header(refs=(Ref(0, LOG, 0, bytes(31)),))),
        "over 4,096 bytes": encode_header(header(refs=(far,) * 55)),
    }
    fields = ("version", "hlc", "occurred", "kind", "kind_version", "entity", "about", "scope", "circle")
    return {
        "accepted": [
            {
                "name": name,
                **{field: plain(getattr(one, field)) for field in fields},
                "hlc": str(one.hlc),
                "refs": None if one.refs is None else [[ref.role, ref.log, ref.seq, ref.leaf] for ref in one.refs],
                "bytes": encode_header(one),
            }
            for name, one in taken.items()
        ],
        "refused": [{"name": name, "bytes": raw} for name, raw in refused.items()],
    }


def leaves() -> Any:
    draw = SeededEntropy(1).bytes
    found = []
    for body in (b"", b"\xa5hello", bytes(range(256))):
        blind, salt, head = draw(16), draw(16), encode_header(header(hlc=HLC + len(found)))
        inner = body_hash(salt, body)
        found.append(
            {"blind": blind, "salt": salt, "header": head, "body": body, "body_hash": inner,
             "leaf": leaf_hash(blind, head, inner)}
        )  # fmt: skip
    return found


def seeds() -> Any:
    seed = SeededEntropy(2).bytes(32)
    first = 2_048
    whole = Seeds(LOG, first, seed)
    gone = [first, first + 33, first + 34, first + 1_023]
    cut = Seeds(LOG, first, seed)
    cut.destroy(gone)
    places = [first, first + 1, first + 31, first + 32, first + 33, first + 500, first + 1_023]
    return {
        "log": LOG,
        "first": first,
        "seed": seed,
        "values": [{"seq": seq, "blind": whole.of(seq)[0], "salt": whole.of(seq)[1]} for seq in places],
        "destroyed": gone,
        "packed_after_destroying": cut.packed(),
        "values_after": [{"seq": seq, "blind": cut.of(seq)[0], "salt": cut.of(seq)[1]} for seq in places],
        "given_with_70_leaves": whole.shared(70),
    }


def tree() -> Any:
    hashes = [body_hash(bytes(16), b"%d" % n) for n in range(37)]
    sizes = [0, 1, 2, 3, 4, 5, 7, 8, 16, 31, 32, 33, 37]

    def frontier(size: int) -> bytes:
        grown = Frontier()
        grown.extend(hashes[:size], keep_level=-1)
        return grown.packed()

    def subtree(first: int, last: int) -> bytes:
        return root_of(hashes[first:last])

    return {
        "leaves": hashes,
        "roots": [{"size": n, "root": root_of(hashes[:n]), "frontier": frontier(n)} for n in sizes],
        "inclusion": [
            {"seq": at, "size": size, "path": inclusion_path(at, size, subtree)}
            for at, size in ((0, 1), (0, 2), (1, 2), (2, 3), (6, 7), (0, 37), (36, 37), (20, 33))
        ],
        "consistency": [
            {"old": old, "new": new, "path": consistency_path(old, new, subtree)}
            for old, new in ((1, 1), (1, 2), (2, 3), (3, 7), (4, 7), (6, 8), (32, 37), (33, 37), (7, 37))
        ],
    }


def notes() -> Any:
    key = SigningKey(SeededEntropy(3).bytes(32))
    found = []
    for size, root in ((0, root_of([])), (1, b"\x01" * 32), (1 << 39, b"\xfe" * 32)):
        note = checkpoint.sign(Checkpoint(LOG, size, root), key)
        found.append({"size": size, "root": root, "note": note.decode()})
    return {
        "log": LOG, "seed": key.seed, "public_key": key.public, "key_id": key_id(origin(LOG), key.public),
        "checkpoints": found,
    }  # fmt: skip


def statements() -> Any:
    draw = SeededEntropy(4).bytes
    names = ("root", "next_root", "enrol", "instance", "sibling", "second_enrol")
    keys = {name: SigningKey(draw(32)) for name in names}
    wrap, nonce, root_hash = draw(32), draw(16), draw(32)
    root, following, enrol_key, instance, sibling, second = keys.values()
    begin = said.PrincipalInception(root.public, said.root_commitment(following.public), enrol_key.public, wrap)
    principal = begin.statement().id
    agent = said.AgentInception(principal, enrol_key.public, instance.public, nonce).statement()
    log = said.log_id_of(agent.id, instance.public)
    made: dict[str, Statement] = {
        "principal": begin.statement().signed_by(root, enrol_key),
        "agent": agent.signed_by(enrol_key, instance),
        "instance, the first": said.InstanceCertificate(
            agent.id, instance.public, wrap, b"", 0, b"", enrol_key.public
        ).statement().signed_by(enrol_key, instance),
        "instance, by a sibling": said.InstanceCertificate(
            agent.id, sibling.public, wrap, log, 12, root_hash, instance.public
        ).statement().signed_by(instance, sibling),
        "provisional": said.ProvisionalInstance(
            agent.id, sibling.public, wrap, instance.public, 12, root_hash
        ).statement().signed_by(instance, sibling),
        "revoke": said.Revocation(principal, log, 10, root_hash, enrol_key.public).statement().signed_by(enrol_key),
        "enrol": said.EnrolDelegation(principal, second.public, root.public).statement().signed_by(root, second),
        "rotate": said.RootRotation(
            principal, following.public, said.root_commitment(second.public)
        ).statement().signed_by(following),
    }  # fmt: skip
    return {
        "keys": {name: {"seed": key.seed, "public": key.public} for name, key in keys.items()},
        "statements": [
            {"name": name, "use": one.use, "fields": one.fields, "signed_bytes": one.signed_bytes(), "id": one.id,
             "encoded": one.encode()}
            for name, one in made.items()
        ],
        "logs": {
            "home of the principal": said.log_id_of(principal, enrol_key.public),
            "of the first instance": log,
            "of the sibling": said.log_id_of(agent.id, sibling.public),
        },
    }  # fmt: skip


def ids() -> Any:
    made = EntityIds(LOG)
    places = [(HLC, 0, 0), (HLC, 0, 1), (HLC + 65_536, 1, 0), ((1 << 63) - 1, (1 << 40) - 1, 65_535), (0, 0, 0)]
    return {
        "log": LOG,
        "log_text": id_text(LOG),
        "event_text": event_text(LOG, 42),
        "entities": [
            {"hlc": str(hlc), "seq": seq, "n": n, "id": made.of(hlc, seq, n), "text": entity_text(made.of(hlc, seq, n))}
            for hlc, seq, n in places
        ],
        "natural": [
            {"domain": domain, "key": key, "id": natural_id(domain, key)}
            for domain, key in (("tone", "calm"), ("tone", "ruhig"), ("", ""))
        ],
    }


def files() -> dict[str, Any]:
    """A proof file and an archive, made by a replica whose chance and clock are ours."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        ring = KeyRing(place / "keys", Unlock(key=bytes(32)), create=True)
        world = {"clock": ManualClock(NOW), "entropy": SeededEntropy(5), "host": Host(place / "state", "a machine")}
        with Replica.create(place / "one.antiphon", os.urandom(32), Registry([]), ring, **world) as replica:
            with replica.transaction():
                principal = enrol.create_principal(replica)
                agent = enrol.enrol_agent(replica, principal.log)
                replica.add_log(agent.id, SigningKey(ring.get(f"log:{agent.log.hex()}")), agent.log)
            texts = ["one", "two", "three", "four", "five"]
            drafts = [Draft("example.said", encode_body(text), entity=NEW, occurred=NOW - 1) for text in texts]
            replica.commit(Batch(agent.log, drafts, [None] * len(drafts)))
            head = replica.head(agent.log)
            forgetting.forget(replica, [(head.no, 3)], reason="asked")
            proof = prove.prove_event(replica, agent.log, 1, principal_log=principal.log)
            archive.write_archive(replica, replica.heads(), place / "all.archive")
            stored = [
                (replica.head(log).size, prove.root_of_head(replica.head(log))) for log in (principal.log, agent.log)
            ]
        return {
            "proof": {
                "principal": principal.id, "agent": agent.id, "log": agent.log, "seq": 1, "body": encode_body("two"),
                "file": proof.decode(),
            },
            "archive": {
                "logs": [
                    {"log": log, "size": size, "root": root}
                    for log, (size, root) in zip((principal.log, agent.log), stored, strict=True)
                ],
                "erased": 3,
                "archive_base64": base64.b64encode((place / "all.archive").read_bytes()).decode(),
            },
        }  # fmt: skip


def build() -> dict[str, str]:
    """Each file's name and text."""
    made = {
        "headers": headers(), "leaves": leaves(), "seeds": seeds(), "tree": tree(), "notes": notes(),
        "statements": statements(), "ids": ids(), **files(),
    }  # fmt: skip
    return {
        f"{name}.json": json.dumps(plain(value), indent=1, ensure_ascii=False) + "\n" for name, value in made.items()
    }


if __name__ == "__main__":
    for name, text in build().items():
        (FOLDER / name).write_text(text, "utf-8")
        print(f"{name}: {len(text):,} characters")
