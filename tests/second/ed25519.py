"""Ed25519 verification by the strict rule of docs/protocol.md, section 8, in plain integers (RFC 8032, section 5.1)."""

from hashlib import sha512

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def _x_of(y, odd):
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * SQRT_M1 % P
    if x * x % P != square or (x == 0 and odd):
        return None
    return x if x & 1 == odd else P - x


def decode(raw):
    """The point in 32 bytes as (X, Y, Z, T); None for a spelling that is not canonical or not on the curve."""
    number = int.from_bytes(raw, "little")
    y, odd = number & ((1 << 255) - 1), number >> 255
    if y >= P:
        return None
    x = _x_of(y, odd)
    return None if x is None else (x, y, 1, x * y % P)


def encode(point):
    """The 32 bytes of a point."""
    x, y, z, _ = point
    inverse = pow(z, -1, P)
    x, y = x * inverse % P, y * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def add(p, q):
    """The sum of two points."""
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(scalar, point):
    """A point added to itself so many times."""
    total = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return total


_BASE_Y = 4 * pow(5, -1, P) % P
BASE = decode(_BASE_Y.to_bytes(32, "little"))
IDENTITY = encode((0, 1, 1, 0))


def is_small(point):
    """Whether eight times the point is nothing."""
    return encode(times(8, point)) == IDENTITY


def public(seed):
    """The public key of a 32-byte seed."""
    return encode(times(_scalar(seed)[0], BASE))


def sign(seed, message):
    """The signature of a message."""
    scalar, prefix = _scalar(seed)
    key = encode(times(scalar, BASE))
    r = int.from_bytes(sha512(prefix + message).digest(), "little") % L
    commitment = encode(times(r, BASE))
    k = int.from_bytes(sha512(commitment + key + message).digest(), "little") % L
    return commitment + ((r + k * scalar) % L).to_bytes(32, "little")


def _scalar(seed):
    digest = sha512(seed).digest()
    return (int.from_bytes(digest[:32], "little") & ((1 << 254) - 8)) | 1 << 254, digest[32:]


def is_signed(message, signature, key):
    """Whether the key signed the message."""
    if len(signature) != 64 or len(key) != 32:
        return False
    a, r = decode(key), decode(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L or is_small(a) or is_small(r):
        return False
    k = int.from_bytes(sha512(signature[:32] + key + message).digest(), "little") % L
    minus_a = (P - a[0], a[1], 1, P - a[3])
    return encode(add(times(s, BASE), times(k, minus_a))) == signature[:32]
