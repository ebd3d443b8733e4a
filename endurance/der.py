"""Certificates as trees of DER elements, mutated and signed again."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from endurance.mutation import mutate_bytes

_CONSTRUCTED = 0x20
_SEQUENCE, _OCTET_STRING, _BIT_STRING = 0x30, 0x04, 0x03
_TAGS = (
    0x01,
    0x02,
    0x03,
    0x04,
    0x05,
    0x06,
    0x0C,
    0x13,
    0x16,
    0x17,
    0x18,
    0x1E,
    0x30,
    0x31,
    0x80,
    0x82,
    0x86,
    0xA0,
    0xA3,
)
_MAX_DEPTH = 16
ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
"""The AlgorithmIdentifier of ECDSA with SHA-256."""


@dataclass(slots=True)
class Element:
    """One tag with its content: bytes, or the elements in it."""

    tag: int
    content: bytes = b""
    children: list["Element"] = field(default_factory=list)

    def encode(self) -> bytes:
        """Encode with correct lengths."""
        content = self.content + b"".join(child.encode() for child in self.children)
        length = len(content)
        if length < 0x80:
            return bytes((self.tag, length)) + content
        size = length.to_bytes((length.bit_length() + 7) // 8, "big")
        return bytes((self.tag, 0x80 | len(size))) + size + content


def parse(data: bytes, depth: int = 0) -> list[Element] | None:
    """Parse a series of elements. Returns None if the bytes are not one."""
    elements = []
    while data:
        header = _header(data)
        if header is None:
            return None
        start, end = header
        tag, content, data = data[0], data[start:end], data[end:]
        children = parse(content, depth + 1) if depth < _MAX_DEPTH and tag & _CONSTRUCTED else None
        if tag == _OCTET_STRING and content[:1] in (b"\x30", b"\x03", b"\x04") and depth < _MAX_DEPTH:
            children = parse(content, depth + 1)  # the value of an extension
        elements.append(Element(tag, b"", children) if children else Element(tag, content))
    return elements


def _header(data: bytes) -> tuple[int, int] | None:
    """Where the content of the first element starts and ends."""
    if len(data) < 2:
        return None
    start, length = 2, data[1]
    if length & 0x80:
        size = length & 0x7F
        start, length = 2 + size, int.from_bytes(data[2 : 2 + size], "big")
        if not 1 <= size <= 3 or len(data) < start:
            return None
    return (start, start + length) if start + length <= len(data) else None


def split(data: bytes) -> list[bytes]:
    """Split a series of elements; what is left when that is no longer possible becomes the last one."""
    elements = []
    while data:
        header = _header(data)
        end = header[1] if header else len(data)
        elements.append(data[:end])
        data = data[end:]
    return elements


def mutate_certificate(
    rng: random.Random, data: bytes, others: Sequence[bytes], key: ec.EllipticCurvePrivateKey
) -> bytes:
    """Change some elements of a certificate, and mostly sign the result with the key of its issuer."""
    parsed = parse(data)
    if not parsed or rng.random() < 0.05:
        return mutate_bytes(rng, data, others)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _edit(rng, parsed, others)
    if rng.random() < 0.1 or not (parsed and parsed[0].children):
        return b"".join(element.encode() for element in parsed)
    return sign(parsed[0].children[0].encode(), key)


def sign(content: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Make a certificate of its content (TBSCertificate)."""
    signature = b"\x00" + key.sign(content, ec.ECDSA(hashes.SHA256()))
    return Element(_SEQUENCE, content + ECDSA_SHA256 + Element(_BIT_STRING, signature).encode()).encode()


def _edit(rng: random.Random, parsed: list[Element], others: Sequence[bytes]) -> None:
    siblings, place = rng.choice(_places(parsed) or [(parsed, 0)])
    if place >= len(siblings):
        return
    element = siblings[place]
    match rng.randrange(6):
        case 0:
            element.tag = rng.choice(_TAGS)
        case 1:
            del siblings[place]
        case 2:
            siblings[place:place] = [element] * rng.choice((1, 1, 2, 8))
        case 3:
            donor = parse(rng.choice(split(rng.choice(others)) or [b""])) or []
            series, index = rng.choice(_places(donor) or [(siblings, place)])
            siblings[place] = series[index]
        case _:
            content = element.content or b"".join(child.encode() for child in element.children)
            siblings[place] = Element(element.tag, mutate_bytes(rng, content, others)[:4096])


def _places(parsed: list[Element]) -> list[tuple[list[Element], int]]:
    """Every series of elements with each place in it, up to a limit."""
    places: list[tuple[list[Element], int]] = []
    open_series = [parsed]
    while open_series and len(places) < 1000:
        series = open_series.pop()
        for index, element in enumerate(series):
            places.append((series, index))
            if element.children:
                open_series.append(element.children)
    return places
