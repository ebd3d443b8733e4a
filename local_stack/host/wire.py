"""The protocol between host and worker: length-prefixed JSON documents on a socket.

Azure uses gRPC with protobuf messages here. A value keeps the one-of shape of protobuf's TypedData:
`{"string": …}`, `{"json": …}`, `{"bytes": base64}` or `{"http": …}`.
"""

import asyncio
import base64
import json
import struct
from typing import Any

Message = dict[str, Any]
TypedData = dict[str, Any]

_LENGTH = struct.Struct(">I")


def string(value: str) -> TypedData:
    """A value that the worker sees as text."""
    return {"string": value}


def as_json(value: Any) -> TypedData:
    """A value that the worker sees as JSON."""
    return {"json": json.dumps(value)}


def binary(value: bytes) -> TypedData:
    """A value that the worker sees as bytes."""
    return {"bytes": base64.b64encode(value).decode()}


def to_bytes(value: TypedData | None) -> bytes:
    """The bytes of a value that is text, JSON or bytes."""
    for kind, content in (value or {}).items():
        return base64.b64decode(content) if kind == "bytes" else str(content).encode()
    return b""


def encode(message: Message) -> bytes:
    """A message in its encoded form."""
    body = json.dumps(message, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return _LENGTH.pack(len(body)) + body


async def read(reader: asyncio.StreamReader) -> Message | None:
    """The next message; None once the other side is gone."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        message: Message = json.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return message
