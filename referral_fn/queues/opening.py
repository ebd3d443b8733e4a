"""The choice between the two kinds of queue."""

import aiohttp

from referral_fn.credentials.token_source import TokenSource
from referral_fn.queues.base import Queue


def open_queue(url: str, session: aiohttp.ClientSession, tokens: TokenSource, max_message: int) -> Queue:
    """The queue at a URL: Service Bus for `sb://…`, else Azure Storage.

    Args:
        url: one of the queue settings.
        session: the connections to use.
        tokens: whose tokens to use.
        max_message: bytes of the largest message on Service Bus, where it depends on the namespace.
    """
    if url.startswith("sb://"):
        from referral_fn.queues.service_bus import ServiceBusQueue  # noqa: PLC0415 - load only the kind in use

        return ServiceBusQueue(url, session, tokens, max_message)
    from referral_fn.queues.storage import StorageQueue  # noqa: PLC0415

    return StorageQueue(url, session, tokens)
