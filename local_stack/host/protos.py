"""Plain objects in place of the protobuf messages that Microsoft's worker library is handed and makes.

The library takes the module of messages as a parameter, so that these classes are all it needs. Names are protobuf's.
"""

from types import SimpleNamespace
from typing import Any


class Plain(SimpleNamespace):
    """A message with the attributes that it was created with."""


class TypedData(Plain):
    """A value of one kind, or of none."""

    def WhichOneof(self, _: str) -> str | None:  # noqa: N802 - protobuf's name
        """The kind of the value."""
        return next(iter(vars(self)), None)


class ParameterBinding(Plain):
    """The value of one parameter."""

    def WhichOneof(self, _: str) -> str:  # noqa: N802 - protobuf's name
        """Always a value: shared memory is not used."""
        return "data"


class StatusResult(Plain):
    """Whether a request succeeded."""

    Failure, Success, Cancelled = range(3)


class BindingInfo(Plain):
    """A binding's direction and data type."""

    out, inout = 1, 2
    undefined, string, binary, stream = range(4)


class RpcHttpCookie(Plain):
    """A cookie of a response."""

    SameSite = SimpleNamespace(**{"None": 0, "Lax": 1, "Strict": 2, "ExplicitNone": 3})


class RpcException(Plain):
    """What a function raised."""


class InvocationResponse(Plain):
    """How an invocation ended."""


def __getattr__(name: str) -> Any:
    """Any other message has no behaviour of its own: NullableString, RpcHttp, WorkerMetadata and so on."""
    if name.startswith("_"):
        raise AttributeError(name)
    return type(name, (Plain,), {})
