"""Mutations of inputs that keep enough of their structure to get past the first check: bytes, JSON, headers, DER."""

import copy
import json
import random
from collections.abc import Sequence
from typing import Any

MAX_INPUT = 64 * 1024
"""Bytes of an input. Longer ones cost much and show little more."""

_EDITS = 1, 1, 1, 2, 4
_BYTES = (b"\x00", b"\xff", b"\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", b'"', b"\\", b"{", b"[", b"\r\n", b"A" * 300)
_TEXTS = (
    *(
        "",
        " ",
        "\x00",
        "\ud800",
        "\udfff\ud800",
        "\u202e",
        "\ufeff",
        "e\u0301",
        "\u00e9",
        "İ",
        "ß",
        "٣",
        "\U0001f600",
        "<b>",
    ),
    *("fa2ebe8d-754c-4d43-baa1-c31688a9c8ff", "FA2EBE8D-754C-4D43-BAA1-C31688A9C8FF", "msft", "None", "Direct", "Won"),
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59-14:00", "2018-02-30T00:00:00Z"),
    *("2026-11-24T12:00:00+23:59", "2026-11-24T24:00:00Z", "20261124T120000Z", "2026-W48-2", "1e400", "-0", "NaN"),
    *(
        "+1 (425) 555-0100 x1",
        "0" * 241,
        "+" * 250,
        "tel:+1-425;ext=9",
        "US",
        "USA",
        "de",
        "XX",
        "a@b.c",
        "@",
        "a" * 400,
    ),
    *("https://[", "http://a:b@c:99999/", "//", "?#", "%00", "/v2/referrals/../..", '"tag"', 'W/"tag"', "\r\n\r\n"),
    *("Text " * 1000, "é" * 5000),
)
_NUMBERS = (0, -1, 2**31, 2**53 + 1, 10**40, -(10**40), 0.1, 1e-320, 1e308, -0.0, float("nan"), float("inf"))
_VALUES: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"": None}, [{}] * 300, *_NUMBERS)


def mutate_bytes(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Change some bytes: flip, insert, remove, repeat, exchange for a part of another input."""
    changed = bytearray(data)
    for _ in range(rng.choice(_EDITS)):
        start = rng.randint(0, len(changed))
        end = min(len(changed), start + rng.choice((1, 1, 2, 4, 16, 64, 1024)))
        match rng.randrange(7):
            case 0 if start < end:
                changed[start] ^= 1 << rng.randrange(8)
            case 1:
                changed[start:start] = rng.choice(_BYTES)
            case 2:
                del changed[start:end]
            case 3:
                changed[start:start] = changed[start:end] * rng.choice((1, 2, 8))
            case 4:
                other = rng.choice(others)
                cut = rng.randint(0, len(other))
                changed[start:end] = other[cut : cut + rng.choice((1, 8, 64, 1024))]
            case 5:
                changed[start:end] = rng.randbytes(end - start)
            case _:
                changed[start:start] = rng.choice(_TEXTS).encode(errors="surrogatepass")
    return bytes(changed[:MAX_INPUT])


def mutate_json(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Change some values or members of a document; now and then its bytes, too."""
    document = _parsed(data)
    if document is None or rng.random() < 0.05:
        return mutate_bytes(rng, data, others)
    root = [document]
    for _ in range(rng.choice(_EDITS)):
        places = _places(root)
        container, key = rng.choice(places)
        _edit(rng, container, key, places, others)
        if not root:
            return b""
    encoded = json.dumps(root[0], ensure_ascii=rng.random() < 0.7).encode(errors="surrogatepass")
    return encoded[:MAX_INPUT] if rng.random() < 0.95 else mutate_bytes(rng, encoded, others)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _places(root: list[Any]) -> list[tuple[Any, Any]]:
    """Every container with each of its keys, up to a limit."""
    places: list[tuple[Any, Any]] = []
    containers: list[Any] = [root]
    while containers and len(places) < 1000:
        container = containers.pop()
        for key in container if isinstance(container, dict) else range(len(container)):
            places.append((container, key))
            if isinstance(container[key], dict | list):
                containers.append(container[key])
    return places


def _edit(rng: random.Random, container: Any, key: Any, places: list[tuple[Any, Any]], others: Sequence[bytes]) -> None:
    match rng.randrange(10):
        case 0:
            del container[key]
        case 1 if isinstance(container, dict):
            container[rng.choice((rng.choice(_TEXTS), key.swapcase(), key + "s", "extra"))] = container[key]
        case 1:
            container[key:key] = [container[key]] * rng.choice((1, 2, 30))
        case 2:
            source, name = rng.choice(places)
            container[key] = copy.deepcopy(source[name])
        case 3:
            for _ in range(rng.choice((1, 2, 5, 70))):
                container[key] = [container[key]] if rng.random() < 0.5 else {"a": container[key]}
        case _:
            container[key] = _value(rng, container[key], others)


def _value(rng: random.Random, value: Any, others: Sequence[bytes]) -> Any:
    """Something else in place of a value."""
    match rng.randrange(5):
        case 0:
            return copy.deepcopy(rng.choice(_VALUES))
        case 1 if isinstance(value, str):
            changed = mutate_bytes(rng, value.encode(errors="surrogatepass"), others)
            return changed.decode(errors="surrogateescape")
        case 2:
            other = _parsed(rng.choice(others))
            return rng.choice(list(other.values())) if isinstance(other, dict) and other else other
        case _:
            return rng.choice(_TEXTS)


def mutate_message(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Change the header lines or the body of `name: value` lines, an empty line, and a JSON document."""
    head, separator, body = data.partition(b"\n\n")
    if not separator or rng.random() < 0.02:
        return mutate_bytes(rng, data, others)
    if rng.random() < 0.5:
        return (head + separator + mutate_json(rng, body, [other.partition(b"\n\n")[2] for other in others[:8]]))[
            :MAX_INPUT
        ]
    lines = head.split(b"\n")
    place = rng.randrange(len(lines))
    name, _, value = lines[place].partition(b": ")
    match rng.randrange(4):
        case 0:
            del lines[place]
        case 1:
            lines.append(lines[place])
        case 2:
            lines[place] = name + b": " + lines[rng.randrange(len(lines))].partition(b": ")[2]
        case _:
            lines[place] = name + b": " + mutate_bytes(rng, value, others).replace(b"\n", b" ")
    return b"\n".join(lines) + separator + body


def split_message(data: bytes) -> tuple[dict[str, str], bytes]:
    """The headers, by lower-case name, and the body of a message. Repeated headers are joined by commas, as in HTTP."""
    head, _, body = data.partition(b"\n\n")
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").split("\n"):
        name, _, value = line.partition(": ")
        name = name.strip().lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers, body
