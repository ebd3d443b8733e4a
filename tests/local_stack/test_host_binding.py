"""How the host converts a message for the worker: the data type, and the override of metadata."""

import json

import azure.functions as func
import pytest
from azure.functions import meta
from azure.functions.queue import QueueMessageInConverter

from local_stack.host import wire
from local_stack.host.binding import BindingError, bind

METADATA = {
    "Id": wire.string("the message's own"),
    "DequeueCount": wire.as_json(3),
    "InsertionTime": wire.as_json("2026-11-24T04:00:00+00:00"),
    "PopReceipt": wire.string("receipt"),
}


def overridden(body: str) -> dict[str, wire.TypedData]:
    """The metadata that a text body puts in place of the message's own, or adds to it."""
    _, metadata = bind(body.encode(), "STRING", METADATA)
    return {name: value for name, value in metadata.items() if METADATA.get(name) != value}


def decoded(body: str, data_type: str | None) -> func.QueueMessage:
    """The message as the function gets it."""
    value, metadata = bind(body.encode(), data_type, METADATA)

    def datum(typed: wire.TypedData) -> meta.Datum:
        ((kind, content),) = typed.items()
        return meta.Datum(wire.to_bytes(typed) if kind == "bytes" else content, kind)

    read = {name: datum(typed) for name, typed in metadata.items()}
    message: func.QueueMessage = QueueMessageInConverter.decode(datum(value), trigger_metadata=read)
    return message


def test_bound_as_bytes_nothing_is_overridden() -> None:
    message = decoded('{"Id": "mine", "DequeueCount": 10, "InsertionTime": "yesterday"}', "BINARY")
    assert (message.id, message.dequeue_count) == ("the message's own", 3)
    assert message.get_body() == b'{"Id": "mine", "DequeueCount": 10, "InsertionTime": "yesterday"}'


@pytest.mark.parametrize("data_type", ["STRING", None])
def test_bound_as_text_members_of_the_body_replace_metadata_ignoring_case(data_type: str | None) -> None:
    message = decoded('{"id": "mine", "DEQUEUECOUNT": 10}', data_type)
    assert (message.id, message.dequeue_count) == ("mine", 10)


def test_the_hosts_spelling_of_a_name_is_kept() -> None:
    assert overridden('{"dequeuecount": 10, "referralId": "a"}') == {
        "DequeueCount": wire.string("10"),
        "referralId": wire.string("a"),
    }


def test_null_and_arrays_are_skipped() -> None:
    assert overridden('{"Id": null, "DequeueCount": [1]}') == {}


def test_the_last_of_duplicate_members_wins() -> None:
    assert overridden('{"Id": "first", "id": "second", "Id": "third"}') == {"Id": wire.string("second")}
    assert overridden('{"Id": "first", "Id": "second"}') == {"Id": wire.string("second")}


@pytest.mark.parametrize(
    "body",
    [
        '\ufeff{"Id": "mine"}',
        '{"Id": "mine", "deep": ' + '{"a":' * 64 + "1" + "}" * 65,
        '{"Id": "mine", "huge": ' + "9" * 400 + "}",
        '[{"Id": "mine"}]',
        '"Id"',
        '{"Id": "mine"',
        '{"Id": "mine"} {}',
        '{"Id": mine}',
        '{"Id": "mine", "other": undefined}',
        '{"Id" "mine"}',
        r'{"Id": "mi\ne", "other": "\q"}',
    ],
)
def test_a_body_that_the_host_cannot_parse_overrides_nothing(body: str) -> None:
    assert overridden(body) == {}


def test_64_levels_are_read() -> None:
    assert overridden('{"Id": "mine", "deep": ' + '{"a":' * 63 + "1" + "}" * 64)["Id"] == wire.string("mine")


@pytest.mark.parametrize(
    ("member", "text"),
    [
        ('"2026-11-24T04:00:00Z"', "11/24/2026 04:00:00"),
        ('"2026-11-24T04:00:00.123456Z"', "11/24/2026 04:00:00"),
        ('"2026-11-24T04:00:00+02:00"', "11/24/2026 02:00:00"),
        ('"2026-11-24T04:00:00"', "11/24/2026 04:00:00"),
        ('"2026-13-24T04:00:00Z"', "2026-13-24T04:00:00Z"),
        ('"2026-11-24"', "2026-11-24"),
        ("0x10", "16"),
        ("010", "8"),
        ("-5", "-5"),
        ("1.50", "1.5"),
        ("2.0", "2"),
        ("1e20", "1E+20"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("true", "True"),
        ("'single'", "single"),
        (r'"\u00e9\ud83d\ude00\n"', "é😀\n"),
    ],
)
def test_values_arrive_as_net_writes_them(member: str, text: str) -> None:
    assert overridden('{"Id": ' + member + "}") == {"Id": wire.string(text)}


def test_an_object_arrives_as_json() -> None:
    body = '{"UserProperties": {"at": "2026-11-24T04:00:00Z", "list": [1, \'two\', ], }}'
    (value,) = overridden(body).values()
    assert json.loads(value["json"]) == {"at": "2026-11-24T04:00:00+00:00", "list": [1, "two"]}


@pytest.mark.parametrize(
    "body",
    [
        '{/* a comment */ "Id": "mine"}',
        '{"Id": "mine" // a comment\n}',
        "{'Id': 'mine'}",
        "{Id: 'mine'}",
        '{"Id": "mine",}',
        '  {"Id": "mine"}\n',
    ],
)
def test_lenient_json_overrides_too(body: str) -> None:
    assert overridden(body) == {"Id": wire.string("mine")}


def test_any_insertion_time_breaks_the_workers_converter_at_every_delivery() -> None:
    with pytest.raises(ValueError, match="time data"):
        decoded('{"InsertionTime": "2026-11-24T04:00:00Z"}', "STRING")


def test_a_non_numeric_dequeue_count_breaks_it_too() -> None:
    with pytest.raises(ValueError, match="DequeueCount"):
        decoded('{"dequeueCount": "often"}', "STRING")


@pytest.mark.parametrize("body", ["", "   ", "\n"])
@pytest.mark.parametrize("data_type", ["BINARY", "STRING"])
def test_an_empty_or_blank_body_is_bound(body: str, data_type: str) -> None:
    assert decoded(body, data_type).get_body() == body.encode()


def test_bytes_that_are_not_utf_8_are_bytes_and_no_text() -> None:
    assert bind(b"\xff\xfe", "BINARY", METADATA) == (wire.binary(b"\xff\xfe"), METADATA)
    with pytest.raises(BindingError):
        bind(b"\xff\xfe", "STRING", METADATA)
