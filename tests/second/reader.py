"""A second implementation, written from docs/protocol.md alone: it verifies proof files and archives.

It imports nothing of Antiphon, so that what both accept is what the page says, not what one program happens to do.
"""

import base64
import hashlib
import json
import re
import struct

import zstandard

from tests.second import ed25519
from tests.second.msgpack import Refused, read

GONE = (2, 3, 4)
STATEMENT_KINDS = (
    "principal.incepted", "agent.incepted", "instance.certified", "instance.provisional", "key.revoked",
    "enrol.delegated", "root.rotated",
)  # fmt: skip


def h(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def need(condition, what):
    if not condition:
        raise Refused(what)


# -- section 4: events ---------------------------------------------------------------------------------------------


def header_of(raw):
    """The ten fields of a header."""
    need(len(raw) <= 4096, "a header over its limit")
    fields = read(raw)
    need(isinstance(fields, list) and len(fields) == 10, "a header of another shape")
    version, hlc, occurred, kind, kind_version, entity, about, scope, circle, refs = fields
    need(_is_int(version) and version == 1 and _is_int(hlc) and 0 <= hlc < 1 << 63, "version or hlc")
    need(occurred is None or (_is_int(occurred) and abs(occurred) <= 1 << 53), "occurred")
    need(isinstance(kind, str) and 0 < len(kind.encode()) <= 128, "kind")
    need(_is_int(kind_version) and 0 < kind_version < 1 << 16, "kind version")
    need(entity is None or _is_bin(entity, 16), "entity")
    if about is not None:
        need(isinstance(about, list) and 0 < len(about) <= 64 and all(_is_bin(one, 16) for one in about), "about")
        need(about == sorted(set(about)), "about in another order")
    need(_is_int(scope) and scope in (0, 1, 2) and (circle is not None) == (scope == 1), "scope")
    need(circle is None or _is_bin(circle, 16), "circle")
    if refs is not None:
        need(isinstance(refs, list) and 0 < len(refs) <= 64, "refs")
        for ref in refs:
            need(isinstance(ref, list) and len(ref) == 4, "a ref of another shape")
            role, log, seq, leaf = ref
            need(_is_int(role) and role in (0, 1, 2, 3) and _is_bin(log, 32) and _is_bin(leaf, 32), "a ref")
            need(_is_int(seq) and 0 <= seq < 1 << 40, "a ref's seq")
    return fields


def _is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_bin(value, width):
    return isinstance(value, bytes) and len(value) == width


def entity_id(log, hlc, seq, n=0):
    """The n-th entity that an event creates."""
    top = int.from_bytes(h(b"antiphon/entity/v1\0", log, struct.pack(">QH", seq, n))[:10], "big")
    value = (hlc >> 16) << 80 | 7 << 76 | ((top >> 64) & 0xFFF) << 64 | 2 << 62 | top & ((1 << 62) - 1)
    return value.to_bytes(16, "big")


def id_text(raw):
    return "b" + base64.b32encode(raw).decode().rstrip("=").lower()


# -- sections 5 and 6: leaves, seeds, tree ---------------------------------------------------------------------------


def leaf_hash(blind, header, body_hash):
    need(len(blind) == 16 and len(body_hash) == 32, "widths within a leaf")
    return h(b"\0", blind, header, body_hash)


def body_hash(salt, body):
    need(len(salt) == 16 and len(body) <= 262_144, "a salt of another width, or a body over its limit")
    return h(b"\2", salt, body)


def root(leaves):
    """RFC 6962, section 2.1, word for word."""
    if not leaves:
        return h()
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return h(b"\1", root(leaves[:k]), root(leaves[k:]))


def expand(label, log, first, seed, count, width):
    raw = hashlib.shake_256(b"antiphon/seed/v1\0" + label + log + struct.pack(">Q", first) + seed).digest(count * width)
    return [raw[at * width : (at + 1) * width] for at in range(count)]


def blinds_and_salts(packed, log, first):
    """1,024 blinds and 1,024 salts; None where they are not known."""
    nodes = expand(b"child", log, first, packed, 32, 32) if len(packed) == 32 else read(packed)
    need(isinstance(nodes, list) and len(nodes) == 32, "seeds of another shape")
    blinds, salts = [], []
    for at, node in enumerate(nodes):
        if node is None:
            pair = [None] * 32, [None] * 32
        elif isinstance(node, bytes):
            need(len(node) == 32, "a seed of another width")
            place = first + 32 * at
            pair = expand(b"blind", log, place, node, 32, 16), expand(b"salt", log, place, node, 32, 16)
        else:
            need(isinstance(node, list) and len(node) == 2, "a node of another shape")
            pair = node
        for values in pair:
            need(len(values) == 32 and all(one is None or _is_bin(one, 16) for one in values), "a value's width")
        blinds += pair[0]
        salts += pair[1]
    return blinds, salts


def climb(leaf, index, size, path):
    """RFC 9162, section 2.1.3.2."""
    need(_is_int(index) and 0 <= index < size, "a leaf outside its tree")
    node, fn, sn = leaf, index, size - 1
    for sibling in path:
        need(sn > 0, "a path that is too long")
        if fn % 2 or fn == sn:
            node = h(b"\1", sibling, node)
            while fn % 2 == 0 and fn:
                fn, sn = fn // 2, sn // 2
        else:
            node = h(b"\1", node, sibling)
        fn, sn = fn // 2, sn // 2
    need(sn == 0, "a path that is too short")
    return node


def is_prefix(old, old_root, new, new_root, path):
    """RFC 6962, section 2.1.2, by recursion: the two roots that a consistency path stands for."""
    if old == new:
        return not path and old_root == new_root
    if not 0 < old < new:
        return old == 0 and not path and old_root == h()
    rest = list(path)

    def both(m, n, whole):
        if m == n:
            node = old_root if whole else rest.pop()
            return node, node
        k = 1 << (n - 1).bit_length() - 1
        if m <= k:
            right = rest.pop()
            small, big = both(m, k, whole)
            return small, h(b"\1", big, right)
        left = rest.pop()
        small, big = both(m - k, n - k, False)
        return h(b"\1", left, small), h(b"\1", left, big)

    try:
        small, big = both(old, new, True)
    except IndexError:
        return False
    return not rest and small == old_root and big == new_root


# -- sections 7 to 9: notes, statements, validity ----------------------------------------------------------------------

NOTE = re.compile(rb"antiphon/log/([0-9a-f]{64})\n(0|[1-9][0-9]*)\n([A-Za-z0-9+/]{43}=)\n\n((?:[^\n]+\n)+)")


def checkpoint(note, key, log):
    """(size, root) of a note signed by this key for this log."""
    need(len(note) <= 4096, "a note over its limit")
    found = NOTE.fullmatch(note)
    need(found is not None and bytes.fromhex(found[1].decode()) == log, "not a note of this log")
    name = b"antiphon/log/" + found[1]
    wanted = h(name, b"\n\x01", key)[:4]
    for line in found[4][:-1].split(b"\n"):
        dash, who, blob = line.split(b" ")
        raw = base64.b64decode(blob, validate=True)
        need(dash == "—".encode() and base64.b64encode(raw) == blob, "a signature line that is not one")
        if who == name and raw[:4] == wanted and len(raw) == 68:
            text = note[: found.start(4) - 1]
            need(ed25519.is_signed(text, raw[4:], key), "a signature that does not verify")
            top = base64.b64decode(found[3])
            need(base64.b64encode(top) == found[3], "a root that is not canonical")
            return int(found[2]), top
    raise Refused("no signature by this key")


WIDTHS = {
    "principal": ((32, 32, 32, 32), (0, 2)),
    "agent": ((32, 32, 32, 16), (1, 2)),
    "instance": ((32, 32, 32, (0, 32), 8, (0, 32), 32), (1, 6)),
    "provisional": ((32, 32, 32, 32, 8, 32), (1, 3)),
    "revoke": ((32, 32, 8, 32, 32), (4,)),
    "enrol": ((32, 32, 32), (1, 2)),
    "rotate": ((32, 32, 32), (1,)),
}


class Statement:
    def __init__(self, raw):
        need(len(raw) <= 8192, "a statement over its limit")
        value = read(raw)
        need(isinstance(value, list) and len(value) == 3, "a statement of another shape")
        self.use, self.fields, self.signatures = value
        framed = b"".join(struct.pack(">I", len(field)) + field for field in self.fields)
        self.signed = b"antiphon/" + self.use.encode() + b"/v1\0" + framed
        self.id = h(self.signed)

    def is_sound(self):
        """Whether fields have their widths and every key it needs has signed."""
        widths, signers = WIDTHS.get(self.use, ((), ()))
        if len(widths) != len(self.fields) or not widths:
            return False
        for field, width in zip(self.fields, widths, strict=True):
            if len(field) not in (width if isinstance(width, tuple) else (width,)):
                return False
        return all(
            any(key == self.fields[at] and ed25519.is_signed(self.signed, mark, key) for key, mark in self.signatures)
            for at in signers
        )


def log_id(owner, key):
    return h(b"antiphon/log/v1\0", owner, key)


class Valid:
    """Section 9, "Who is valid": logs -> owner, cut -> size, provisional logs -> agent."""

    def __init__(self, placed):
        need(placed, "no statements")
        inception = placed[0][2]
        need(inception.use == "principal" and inception.is_sound(), "no inception")
        self.principal = inception.id
        first = log_id(self.principal, inception.fields[2])
        rest = [item for item in placed[1:] if item[2].is_sound()]
        self.home, self.enrols, self.cut, self.good, best = None, set(), {}, {}, -1
        for home in sorted({item[0] for item in rest} | {first}, key=lambda log: (log != first, log)):
            rank, enrols, cut, good = self._govern(inception, home, rest)
            if home == first:
                rank = 0
            if rank > max(best, 0) or home == first:
                self.home, self.enrols, self.cut, self.good, best = home, enrols, cut, good, rank
        self.agents, self.provisional = set(), {}
        self.logs = {log_id(self.principal, key): self.principal for key in self.enrols}
        grew = True
        while grew:
            grew = sum(self._admit(*item) for item in rest) > 0

    def _govern(self, inception, home, rest):
        """(rank, enrol keys, cuts, their roots) by what one log says."""
        root_key, following, enrol, _ = inception.fields
        rank = rotations = 0
        enrols, cut, good = {enrol}, {}, {}
        for _, _, said in sorted((item for item in rest if item[0] == home), key=lambda item: item[1]):
            fields = said.fields
            if said.use not in ("rotate", "enrol", "revoke") or fields[0] != self.principal:
                continue
            if said.use == "rotate" and h(b"antiphon/next-root/v1\0", fields[1]) == following:
                root_key, following = fields[1], fields[2]
                rotations += 1
            elif said.use == "enrol" and fields[2] == root_key:
                enrols.add(fields[1])
                if log_id(self.principal, fields[1]) == home:
                    rank = rank or rotations
            elif said.use == "revoke" and fields[4] in enrols | {root_key}:
                size = int.from_bytes(fields[2], "big")
                if size <= cut.get(fields[1], size):
                    cut[fields[1]], good[fields[1]] = size, fields[3]
        return rank, enrols, cut, good

    def counts(self, log, seq):
        return log in self.logs and (log not in self.cut or seq < self.cut[log])

    def _admit(self, log, seq, said):
        fields = said.fields
        if said.use == "agent" and self.counts(log, seq):
            fits = fields[0] == self.principal and fields[1] in self.enrols and said.id not in self.agents
            self.agents |= {said.id} if fits else set()
            return fits
        if said.use == "instance" and self.counts(log, seq):
            agent, certifier, new = fields[0], fields[6], log_id(fields[0], fields[1])
            by_principal = certifier in self.enrols and self.logs[log] == self.principal
            fits = agent in self.agents and (by_principal or log == log_id(agent, certifier)) and new not in self.logs
            if fits:
                self.logs[new] = agent
            return fits
        if said.use == "provisional":
            agent, new, parent = fields[0], log_id(fields[0], fields[1]), log_id(fields[0], fields[3])
            line = agent in (self.logs.get(parent), self.provisional.get(parent))
            fits = agent in self.agents and line and parent not in self.cut and new not in self.provisional
            if fits:
                self.provisional[new] = agent
            return fits
        return False


# -- section 10: proof files -----------------------------------------------------------------------------------------


def verify_proof(raw, principal):
    """What a proof file says, as a dict. Raises Refused."""
    need(len(raw) <= 1 << 20, "a proof over its limit")
    proof = json.loads(raw)
    need(proof["antiphon"] == "antiphon/proof/v1", "another format")
    placed = [(_b(log), seq, Statement(_b(said))) for log, seq, said in proof["statements"]]
    valid = Valid(placed)
    need(valid.principal == principal, "another principal's")
    key, seq = _b(proof["key"]), proof.get("seq")
    owner, certified = _speaker(valid, key, seq or 0)
    log = log_id(owner, key)
    size, top = checkpoint(_b(proof["note"]), key, log)
    path = [_b(node) for node in proof["path"]]
    need(log not in valid.cut or (size, top) == (valid.cut[log], valid.good[log]), "not what a revocation leaves")
    if proof.get("old_note") is not None:
        old, old_top = checkpoint(_b(proof["old_note"]), key, log)
        need(is_prefix(old, old_top, size, top, path), "not a prefix")
        return {"log": log, "old": old, "size": size, "certified": certified}
    header, body = _b(proof["header"]), _b(proof["body"])
    fields = header_of(header)
    leaf = leaf_hash(_b(proof["blind"]), header, body_hash(_b(proof["salt"]), body))
    need(climb(leaf, seq, size, path) == top, "not in the tree")
    return {
        "log": log, "agent": owner, "seq": seq, "size": size, "root": top, "kind": fields[3], "entity": fields[5],
        "made": entity_id(log, fields[1], seq), "body": read(body, canonical=False), "certified": certified,
    }  # fmt: skip


def _speaker(valid, key, seq):
    for log, owner in valid.logs.items():
        if log == log_id(owner, key) and valid.counts(log, seq):
            return owner, True
    for log, owner in valid.provisional.items():
        if log == log_id(owner, key) and seq < valid.cut.get(log, 1 << 62):
            return owner, False
    raise Refused("nothing leads to this key")


def _b(text):
    return base64.b64decode(text, validate=True)


# -- sections 12 and 13: runs and archives -----------------------------------------------------------------------------


def inflate(data):
    need(data[:1] in (b"\0", b"\1"), "compressed in a way that is not known")
    return data[1:] if data[0] == 0 else zstandard.ZstdDecompressor().decompress(data[1:], max_output_size=1 << 28)


def verify_archive(path):
    """For each log a dict (id, size, root, held, gone, entities). Raises Refused at the first thing that is wrong."""
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as source:
        stream = source.read()
    frames, at = [], 0
    while at < len(stream):
        (size,) = struct.unpack_from(">I", stream, at)
        need(at + 4 + size <= len(stream), "cut short")
        frames.append(read(stream[at + 4 : at + 4 + size]))
        at += 4 + size
    waiting = iter(frames)
    name, count = next(waiting)
    need(name == "antiphon/archive/v1", "another format")
    homes, found = [], []
    for _ in range(count):
        log, home = _verify_log(waiting, homes)
        found.append(log)
        homes += [home] if home.is_home() else []  # by now it has verified
    need(next(waiting, None) is None, "frames behind the last log")
    return found


class Home:
    """Section 13: what a log says as the home of a principal; any other log says nothing."""

    def __init__(self, log, owner):
        self.log, self.owner, self.placed, self.erased = log, owner, [], []

    def hear(self, seq, kind, body):
        if kind in STATEMENT_KINDS:
            self.placed.append((self.log, seq, Statement(body)))
        elif kind == "log.erased":
            event = read(body, canonical=False)
            self.erased.append((seq, event.get("log"), event["ranges"]))

    def is_home(self):
        if not self.placed or self.placed[0][1] != 0:
            return False
        first = self.placed[0][2]
        return (first.use, first.id) == ("principal", self.owner) and first.is_sound()

    def erases(self, log, owner, homes):
        """The ranges it erases in the log of an agent of its own; none in anybody else's."""
        valid = Valid([placed for home in homes if home.owner == self.owner for placed in home.placed])
        if owner not in valid.agents:
            return []
        said = (ranges for seq, named, ranges in self.erased if named == log and valid.counts(self.log, seq))
        return [found for ranges in said for found in ranges]


def _verify_log(frames, homes):
    log, owner, key, size, note, blocks = next(frames)
    need(log == log_id(owner, key), "an id that does not follow")
    need(blocks == -(-size // 1024), "another number of blocks than the size needs")
    leaves, gone, covered, entities, held = [], [], [], {}, 0
    home = Home(log, owner)
    last = -1
    for _ in range(blocks):
        first, count, seeds, run = next(frames)
        need(first == len(leaves) and first % 1024 == 0 and count <= 1024, "blocks out of order")
        blinds, salts = blinds_and_salts(seeds, log, first)
        headers, bodies, states, hashes = read(inflate(run))
        need(len(headers) == len(bodies) == count, "a run of another length")
        for at in range(count):
            state, seq = 0 if states is None else states[at], first + at
            if state in GONE:
                need(headers[at] is None and bodies[at] is None and len(hashes[at]) == 32, "a leaf that is not gone")
                need(blinds[at] is None and salts[at] is None, "a forgotten leaf whose values are still there")
                leaves.append(hashes[at])
                gone.append(seq)
                continue
            fields = header_of(headers[at])
            inner = hashes[at] if state == 1 else body_hash(salts[at], bodies[at])
            leaves.append(leaf_hash(blinds[at], headers[at], inner))
            need(fields[1] > last or fields[3] == "clock.reset", "hlc out of order")
            last = fields[1]
            held += state == 0
            entities[seq] = (fields[5], entity_id(log, fields[1], seq))
            home.hear(seq, fields[3], bodies[at])
        need(all(value is None for value in blinds[count:] + salts[count:]), "seeds of leaves to come")
    need(checkpoint(note, key, log) == (size, root(leaves)) and len(leaves) == size, "another root")
    covered += [found for _, named, ranges in home.erased if named is None for found in ranges]
    covered += [found for other in homes for found in other.erases(log, owner, homes)]
    for seq in gone:
        need(any(first <= seq < last for first, last in covered), f"{seq} is gone, and nothing says so")
    return {
        "log": log, "size": size, "root": root(leaves), "held": held, "gone": len(gone), "entities": entities,
    }, home  # fmt: skip
