"""Many requests in one call: each ID is queued once, and every item gets its own result."""

import asyncio
from typing import Any

from referral_fn.errors import RetryableError
from referral_fn.queues.base import Queue
from referral_fn.referrals.messages import request_message
from referral_fn.referrals.request import InvalidRequestError, ReferralRequest, Trace, read_referral_id


async def enqueue_all(requests: Queue, items: list[Any], trace: Trace) -> list[dict[str, Any]]:
    """Put a request on the requests queue for each valid ID among the items.

    Args:
        requests: the requests queue.
        items: referral IDs, not yet checked.
        trace: the caller's trace, which all requests share.

    Returns:
        For each item its `index`, its `referralId` if it is valid, its `status` (`queued`, `invalid` or `failed`), and
        a `detail` unless it is queued.
    """
    results: list[dict[str, Any]] = []
    writes: dict[str, asyncio.Task[dict[str, Any]]] = {}
    async with asyncio.TaskGroup() as group:
        for index, item in enumerate(items):
            try:
                referral_id = read_referral_id(item, f"/referralIds/{index}")
            except InvalidRequestError as error:
                results.append({"index": index, "status": "invalid", "detail": error.rule})
                continue
            if referral_id not in writes:
                request = ReferralRequest(referral_id, trace=trace)
                writes[referral_id] = group.create_task(_enqueue(requests, request))
            results.append({"index": index, "referralId": referral_id})
    return [result | writes[result["referralId"]].result() if "referralId" in result else result for result in results]


async def _enqueue(requests: Queue, request: ReferralRequest) -> dict[str, Any]:
    try:
        await requests.put(request_message(request))
    except RetryableError as error:
        return {"status": "failed", "detail": str(error)}
    return {"status": "queued"}
