"""What each stage costs alone, by referral."""

import asyncio
import base64
import json
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from typing import Any

from azure.core.credentials import AccessToken
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from benchmarks.documents import DOCUMENTS, SEED_ID
from referral_fn import strict_json
from referral_fn.credentials.token_source import TokenSource
from referral_fn.referrals.normalization import normalize
from referral_fn.referrals.phone_numbers import normalize_phone
from referral_fn.referrals.wire import read_referral
from referral_fn.webhooks.signature import Claim, Signer, check_signature

_SECONDS = 0.05
"""How long a stage is repeated for in each round."""

COLLECTION = "https://api.partner.microsoft.com/v1/referrals"


class _LongLived:
    """A credential with a token that lasts."""

    async def get_token(self, *_: str) -> AccessToken:
        """The token."""
        return AccessToken("t", int(time.time()) + 24 * 3600)

    async def close(self) -> None:
        """Nothing is open."""


def rounds(number: int) -> dict[str, dict[str, list[float]]]:
    """CPU in microseconds of each stage, by document, in interleaved rounds."""
    calls: dict[str, dict[str, Callable[[], object]]] = {}
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    signer = Signer(key.public_key(), datetime.now(UTC))
    for name, body in DOCUMENTS.items():
        wire = read_referral(body, SEED_ID)
        event = normalize(wire, collection=COLLECTION)
        claim = Claim("https://signer.example/certificate", SHA256(), key.sign(body, padding.PKCS1v15(), SHA256()))
        calls[name] = {
            "json.loads, json.dumps": partial(_through_json, body),
            "parse, with all checks of JSON": partial(strict_json.loads, body),
            "parse and validate": partial(read_referral, body, SEED_ID),
            "normalize": partial(normalize, wire, collection=COLLECTION),
            "of that, one phone number": partial(normalize_phone, "(403) 569-8759", "CA"),
            "normalize, people left out": partial(normalize, wire, collection=COLLECTION, policy="none"),
            "serialize": event.encode,
            "sign a notification (the stand-in's part)": partial(key.sign, body, padding.PKCS1v15(), SHA256()),
            "verify a notification": partial(check_signature, body, claim, signer),
        }
    times: dict[str, dict[str, list[float]]] = {stage: {} for stage in [*calls["seed"], "look up a token"]}
    for _ in range(number):
        for name, of_document in calls.items():
            for stage, call in of_document.items():
                times[stage].setdefault(name, []).append(_microseconds(call))
        times["look up a token"].setdefault("seed", []).append(asyncio.run(_token_lookup()))
    return times


def message_bytes(name: str) -> int:
    """The length of the Storage queue message that carries the event of a document, in bytes."""
    event = normalize(read_referral(DOCUMENTS[name], SEED_ID), collection=COLLECTION)
    return len(base64.b64encode(event.encode())) + len("<QueueMessage><MessageText></MessageText></QueueMessage>")


def _through_json(body: bytes) -> str:
    return json.dumps(json.loads(body))


def _microseconds(call: Callable[[], object]) -> float:
    call()
    calls, started = 0, time.process_time()
    while (spent := time.process_time() - started) < _SECONDS:
        for _ in range(10):
            call()
        calls += 10
    return spent / calls * 1e6


async def _token_lookup() -> float:
    source = TokenSource(_LongLived)
    await source.token(COLLECTION)

    async def many(make: Callable[[], Coroutine[Any, Any, object]], number: int = 5000) -> float:
        started = time.process_time()
        for _ in range(number):
            await make()
        return (time.process_time() - started) / number * 1e6

    return await many(lambda: source.token(COLLECTION))
