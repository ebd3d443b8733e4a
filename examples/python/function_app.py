"""Stores referrals as an Azure Functions app, from a Storage queue or a Service Bus queue, whichever is connected.

A message that raises is delivered again, and set aside by the host: on `{queue}-poison`, or in the dead letters.
"""

import contextlib
import os

import azure.functions as func
from referrals import open_database, read, store

app = func.FunctionApp()


def keep(body: bytes) -> None:
    """Store the event in a message."""
    with contextlib.closing(open_database(os.environ.get("DATABASE", "referrals.db"))) as database:
        store(database, read(body))


if "Storage__queueServiceUri" in os.environ:
    # As bytes: of a JSON text, the host would take members such as `id` for the message's own metadata.
    @app.queue_trigger("message", "%EVENTS_QUEUE%", "Storage", data_type=func.DataType.BINARY)
    def store_from_storage(message: func.QueueMessage) -> None:
        """Store what is on the Storage queue. The host has decoded the base64."""
        keep(message.get_body())


if "ServiceBus__fullyQualifiedNamespace" in os.environ:

    @app.service_bus_queue_trigger("message", "ServiceBus", "%EVENTS_QUEUE%", data_type=func.DataType.BINARY)
    def store_from_service_bus(message: func.ServiceBusMessage) -> None:
        """Store what is on the Service Bus queue."""
        keep(message.get_body())
