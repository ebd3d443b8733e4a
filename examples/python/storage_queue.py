"""Stores the referrals that arrive on an Azure Storage queue, until SIGTERM or SIGINT.

Settings: EVENTS_URL, the URL of the queue; DATABASE; VISIBILITY_SECONDS, how long a message that was not stored stays
hidden.
"""

import base64
import logging
import os
import signal
import sqlite3
import threading

from azure.identity import DefaultAzureCredential
from azure.storage.queue import QueueClient, QueueMessage
from referrals import UnreadableError, open_database, read, store

MAX_DELIVERIES = 5
"""After so many deliveries, a message that cannot be read is set aside."""

POLL_SECONDS = 1


def handle(message: QueueMessage, queue: QueueClient, set_aside: QueueClient, database: sqlite3.Connection) -> None:
    """Store a message's event, then delete the message. One that cannot be read is set aside in the end, never lost."""
    try:
        store(database, read(decode(message.content)))
    except UnreadableError as error:
        logging.warning("message %s, delivery %s: %s", message.id, message.dequeue_count, error)
        if (message.dequeue_count or 0) < MAX_DELIVERIES:
            return  # it comes again, perhaps to a newer version of this program
        set_aside.send_message(message.content, time_to_live=-1)
    queue.delete_message(message)


def decode(content: str) -> bytes:
    """Decode the text of a message. The client would do this, too, but fail in the receiving, for all messages."""
    try:
        return base64.b64decode(content, validate=True)
    except ValueError as error:
        raise UnreadableError(f"not base64: {error}") from None


def main() -> None:
    """Receive, store, delete, stop."""
    logging.basicConfig(level=logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    hidden = int(os.environ.get("VISIBILITY_SECONDS", "60"))
    url, credential = os.environ["EVENTS_URL"], DefaultAzureCredential()
    database = open_database(os.environ.get("DATABASE", "referrals.db"))
    with (
        QueueClient.from_queue_url(url, credential=credential) as queue,
        QueueClient.from_queue_url(f"{url}-set-aside", credential=credential) as set_aside,
    ):
        while not stop.is_set():
            messages = list(queue.receive_messages(max_messages=32, visibility_timeout=hidden))
            for message in messages:
                handle(message, queue, set_aside, database)
            if not messages:
                stop.wait(POLL_SECONDS)
    database.close()


if __name__ == "__main__":
    main()
