"""Stores the referrals that arrive on a Service Bus queue, until SIGTERM or SIGINT.

Settings: SERVICE_BUS_NAMESPACE, such as contoso.servicebus.windows.net, or SERVICE_BUS_CONNECTION for the emulator;
EVENTS_QUEUE; DATABASE.
"""

import logging
import os
import signal
import sqlite3
import threading

from azure.identity import DefaultAzureCredential
from azure.servicebus import ServiceBusClient, ServiceBusReceivedMessage, ServiceBusReceiver
from referrals import UnreadableError, open_database, read, store

WAIT_SECONDS = 2


def handle(message: ServiceBusReceivedMessage, receiver: ServiceBusReceiver, database: sqlite3.Connection) -> None:
    """Store a message's event, then complete the message. One that cannot be read goes to the dead letters."""
    try:
        store(database, read(b"".join(message.body)))
    except UnreadableError as error:
        logging.warning("message %s: %s", message.message_id, error)
        receiver.dead_letter_message(message, reason="unreadable", error_description=str(error))
    else:
        receiver.complete_message(message)


def connect() -> ServiceBusClient:
    """Connect as the identity of this program, or to the emulator."""
    if connection := os.environ.get("SERVICE_BUS_CONNECTION"):
        return ServiceBusClient.from_connection_string(connection)
    return ServiceBusClient(os.environ["SERVICE_BUS_NAMESPACE"], DefaultAzureCredential())


def main() -> None:
    """Receive, store, complete, stop."""
    logging.basicConfig(level=logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    database = open_database(os.environ.get("DATABASE", "referrals.db"))
    with connect() as client, client.get_queue_receiver(os.environ["EVENTS_QUEUE"]) as receiver:
        while not stop.is_set():
            for message in receiver.receive_messages(max_message_count=32, max_wait_time=WAIT_SECONDS):
                handle(message, receiver, database)
    database.close()


if __name__ == "__main__":
    main()
