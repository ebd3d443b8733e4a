"""A trigger's value and metadata as the host passes them to a worker, quirks included.

Sources: `WorkerFunctionInvoker.TransformInput` and `Utility.ApplyBindingData` of the Functions host.
"""

from collections.abc import Mapping
from typing import Any

from local_stack.host import newtonsoft, wire


class BindingError(Exception):
    """A message cannot be given to the function in the data type it asks for. Counts as a failure of the function."""


class BindingData:
    """Metadata by name; upper and lower case do not matter, and the first spelling of a name is kept."""

    def __init__(self, values: Mapping[str, wire.TypedData]) -> None:
        self._spelling: dict[str, str] = {}
        self.values: dict[str, wire.TypedData] = {}
        for name, value in values.items():
            self.set(name, value)

    def set(self, name: str, value: wire.TypedData) -> None:
        """Set a value, replacing any existing one."""
        self.values[self._spelling.setdefault(name.lower(), name)] = value


def bind(
    body: bytes, data_type: str | None, metadata: Mapping[str, wire.TypedData]
) -> tuple[wire.TypedData, dict[str, wire.TypedData]]:
    """A message's body and metadata as the worker receives them.

    Text is looked into: a JSON object's members replace the metadata of the same name. Bytes are passed as they are.

    Args:
        body: of the message.
        data_type: the binding's `dataType`; absent means text.
        metadata: the message's own.

    Raises:
        BindingError: text was asked for, and these bytes are none.
    """
    if (data_type or "").upper() == "BINARY":
        return wire.binary(body), dict(metadata)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BindingError(f"Unable to translate bytes at index {error.start} from specified code page") from None
    data = BindingData(metadata)
    for name, value in _members(text).items():
        if isinstance(value, dict):
            data.set(name, wire.as_json(_plain(value)))
        elif value is not None and not isinstance(value, list):
            data.set(name, wire.string(newtonsoft.to_text(value)))
    return wire.string(text), data.values


def _members(text: str) -> dict[str, Any]:
    trimmed = text.strip()
    if not (trimmed.startswith("{") and trimmed.endswith("}")):
        return {}
    try:
        return newtonsoft.parse_object(text)
    except newtonsoft.NotJsonError:
        return {}


def _plain(value: Any) -> Any:
    """A nested value as JSON again, its dates as ISO text."""
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else value
