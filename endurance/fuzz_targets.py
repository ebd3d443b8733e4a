"""What is fuzzed: everything that reads what strangers, Partner Center or a queue can send.

A target is called with bytes. It returns a label for the outcome, and raises only on a defect: the
documented errors are outcomes like others, everything else is a defect.
"""

import base64
import dataclasses
import functools
import json
import random
import unicodedata
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, get_args

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import Store

from endurance import der
from endurance.mutation import mutate_json, mutate_message, split_message
from local_stack.stand_ins.referrals import REFERRALS, SEED
from local_stack.stand_ins.signing import Identity
from local_stack.stand_ins.webhooks import notification
from referral_fn import strict_json
from referral_fn.cli.output import visible
from referral_fn.errors import Finding, SignatureError
from referral_fn.queues.base import Message
from referral_fn.referrals.contact_policy import Policy
from referral_fn.referrals.messages import MAX_REJECT, event_message, reject_messages, request_message
from referral_fn.referrals.normalization import normalize
from referral_fn.referrals.outcome import Rejected
from referral_fn.referrals.rejects import NotRestorableError, Reject, RejectPart, Selection, read_part
from referral_fn.referrals.request import (
    REFERRAL_EVENTS,
    TEST_EVENT,
    InvalidRequestError,
    ReferralRequest,
    Trace,
    prefers_async,
    read_body,
    read_event_name,
    read_message,
    read_notification,
    read_referral_id,
)
from referral_fn.referrals.wire import InvalidReferralError, read_referral
from referral_fn.strict_json import InvalidJSONError
from referral_fn.webhooks import signature

Mutate = Callable[[random.Random, bytes, Sequence[bytes]], bytes]

_SEED_ID = str(SEED["id"])
_COLLECTION = "https://api.partner.microsoft.com/v1.0/engagements/referrals"
_HOST = "3psostorageacct.blob.core.windows.net"
_POLICIES: tuple[Policy, ...] = get_args(Policy)
_TRACE = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\ntracestate: a=1,b=2"
_NOW = datetime.now(UTC)
_UNSAFE = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
"""Unicode categories of characters that a terminal may obey instead of showing them."""


@dataclasses.dataclass(frozen=True)
class Target:
    """Something that reads untrusted bytes."""

    name: str
    seeds: Sequence[bytes]
    """Valid inputs, which the others are derived from."""
    mutate: Mutate
    run: Callable[[bytes], str]
    """Returns the outcome, with `accepted` in it where the input was valid."""


class BrokenPromiseError(Exception):
    """Nothing was raised, but the result is not what it must be."""


def _promise(holds: object, what: str) -> None:
    if not holds:
        raise BrokenPromiseError(what)


def _outcome(read: Callable[[], object]) -> str:
    """The outcome of reading an input: `accepted`, or the documented error with the rule that was broken."""
    try:
        read()
    except InvalidRequestError as error:
        return f"{error.reason}: {error.rule}"
    except InvalidReferralError as error:
        return "invalid-referral: " + ", ".join(sorted({finding["rule"] for finding in error.findings}))
    except InvalidJSONError as error:
        return f"not JSON: {error}"
    except SignatureError as error:
        return f"{error.check}: {error}"[:100]
    return "accepted"


def _queue(request: ReferralRequest) -> None:
    """Put a request into a message and read it again."""
    message = request_message(request, attempt=request.attempt)
    _promise(read_message(message.body) == request, "a request must survive its own message")


def _run_requests(data: bytes) -> str:
    headers, body = split_message(data)
    trace, prefers = Trace.of(headers), prefers_async(headers)

    def read_http() -> None:
        ids = read_body(body)
        for referral_id in ids if isinstance(ids, list) else [ids]:
            _queue(ReferralRequest(read_referral_id(referral_id), trace=trace))

    message = _outcome(lambda: _queue(read_message(body)))
    return f"message {message}; body {_outcome(read_http)}; {prefers} {bool(trace.traceparent)}"


def _run_notifications(data: bytes) -> str:
    headers, body = split_message(data)

    def verify() -> None:
        signature.check_signature(body, signature.read_claim(headers, {_HOST}), _signer())

    def read() -> None:
        event, document = read_event_name(body)
        request = read_notification(document, Trace.of(headers))
        _promise(request.cause == event, "the cause must be the event")
        _queue(request)
        signature.check_age(request.changed_at, 3600, _NOW)

    return f"signature {_outcome(verify)}; body {_outcome(read)}"


def _run_answers(data: bytes) -> str:
    ids, labels = set(), []

    def publish() -> None:
        referral = read_referral(data, _SEED_ID)
        for policy in _POLICIES:
            event = normalize(referral, collection=_COLLECTION, policy=policy, context={"cause": "referral-updated"})
            encoded = event.encode()
            message = event_message(event, encoded)
            _promise(strict_json.loads(message.body)["id"] == event.id, "an event must be JSON")
            ids.add(event.id)
            rules = sorted({warning["rule"] for warning in event.data.get("warnings") or ()})
            labels.append(f"{event.data['category']} {len(event.data)} {rules}")

    outcome = _outcome(publish)
    _promise(len(ids) <= 1, "a referral must have the same event ID under every policy")
    return f"{outcome} {' '.join(labels)}"


def _run_rejects(data: bytes) -> str:
    """Reject a message as the worker does, and read it back; and read it as if it lay on the rejects queue itself."""
    request, rule = None, "the schedule is used up"
    try:
        request = read_message(data)
    except InvalidRequestError as error:
        rule = str(error)
    rejected = Rejected("retries-exhausted" if request else "invalid-request", rule)
    reject_id = str(uuid.UUID(int=0))
    messages = reject_messages(rejected, request=request, received=data, reject_id=reject_id, source=_COLLECTION)
    parts = [_read_reject(message) for message in messages]
    restored = Reject(tuple(parts)).restore()
    if request:
        # A reject does not keep when the referral changed.
        kept = dataclasses.replace(request, attempt=0, changed_at=None, republish=True)
        _promise(read_message(restored.body) == kept, "a request must survive being rejected")
    else:
        _promise(restored.body == data, "a message must survive being rejected")
    members = sorted(parts[0].document["data"].get("message", {}))
    return f"{'accepted' if request else rule}; {len(parts)} {members}; {_outcome_of_foreign(data)}"


def _read_reject(message: Message) -> RejectPart:
    _promise(len(message.body) <= MAX_REJECT, "a reject must fit into a Storage queue")
    part = read_part(message.body)
    if part is None:
        raise BrokenPromiseError("a reject must be recognized")
    return part


def _outcome_of_foreign(data: bytes) -> str:
    """Read an arbitrary message on the rejects queue."""
    part = read_part(data)
    if part is None:
        return "no reject"
    reject = Reject((part,))
    shown = "".join(visible(text) for text in (reject.id, reject.reason, reject.detail))
    _promise(_UNSAFE.isdisjoint(map(unicodedata.category, shown)), "nothing may control the terminal")
    _promise(Selection().includes(reject), "a selection without conditions must include every reject")
    try:
        return f"accepted: {len(reject.restore().body) > 0} {part.number} {part.total}"
    except NotRestorableError as error:
        return str(error)


def _run_certificates(data: bytes) -> str:
    certificates = []

    def check() -> None:
        certificates.extend([signature.read_certificate(content) for content in der.split(data) or [b""]])
        signature.check_signer(certificates[0], certificates[1:], _roots(), _NOW)

    outcome = _outcome(check)
    urls = sum(len(signature.issuer_urls(certificate)) for certificate in certificates)
    return f"{outcome} {urls}"


@functools.cache
def _authorities() -> tuple[Identity, Identity]:
    """A root and an intermediate with EC keys, which sign faster than RSA keys."""
    root = Identity.authority(key=ec.generate_private_key(ec.SECP256R1()))
    return root, Identity.authority(issuer=root, key=ec.generate_private_key(ec.SECP256R1()))


@functools.cache
def _leaf() -> Identity:
    return Identity.issue(_authorities()[1], issuer_url="http://www.microsoft.com/pkiops/certs/a.crt")


@functools.cache
def _signer() -> signature.Signer:
    return signature.check_signer(_leaf().certificate, [_authorities()[1].certificate], _roots(), _NOW)


@functools.cache
def _roots() -> Store:
    return Store([_authorities()[0].certificate])


def _mutate_certificates(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Change one certificate of a chain. Signer and intermediate are then signed by the right key."""
    chain = der.split(data) or [data]
    place = rng.randrange(len(chain))
    key = _authorities()[0 if place else 1].key
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(key)
    chain[place] = der.mutate_certificate(rng, chain[place], others, key)
    return b"".join(chain)


def targets() -> list[Target]:
    """Create the targets, with new keys and certificates."""
    return [
        Target("requests", _request_seeds(), mutate_message, _run_requests),
        Target("notifications", _notification_seeds(), mutate_message, _run_notifications),
        Target("answers", _answer_seeds(), mutate_json, _run_answers),
        Target("rejects", _reject_seeds(), mutate_json, _run_rejects),
        Target("certificates", _certificate_seeds(), _mutate_certificates, _run_certificates),
    ]


def _request_seeds() -> list[bytes]:
    head = f"prefer: respond-async, wait=10\n{_TRACE}\n\n".encode()
    documents: list[Any] = [
        _SEED_ID,
        {"referralId": _SEED_ID},
        {"referralIds": [_SEED_ID, _SEED_ID.upper(), "no"]},
        {"specversion": "1.0", "id": "1", "source": "/", "type": "a", "subject": _SEED_ID},
        json.loads(ReferralRequest(_SEED_ID, cause="referral-updated", changed_at=_NOW).envelope(attempt=3)),
    ]
    bodies = [json.dumps(document).encode() for document in documents] + [notification("referral-created", _SEED_ID)]
    return [head + body for body in (*bodies, _SEED_ID.encode(), *map(base64.b64encode, bodies))]


def _notification_seeds() -> list[bytes]:
    seeds = []
    for event in (*REFERRAL_EVENTS, TEST_EVENT):
        body = notification(event, _SEED_ID)
        token = base64.b64encode(_leaf().sign(body, hashes.SHA256())).decode()
        for header in ("authorization", "x-ms-signature"):
            head = f"x-ms-certificate-url: https://{_HOST}/cert/a.cer\nx-ms-signature-algorithm: rsa-sha256\n"
            seeds.append(f"{head}{header}: Signature {token}\n{_TRACE}\n\n".encode() + body)
    return seeds


def _answer_seeds() -> list[bytes]:
    return [json.dumps({**referral, "id": _SEED_ID}).encode() for referral in REFERRALS]


def _reject_seeds() -> list[bytes]:
    bodies = [seed.partition(b"\n\n")[2] for seed in _request_seeds()]
    rejected = Rejected("invalid-request", "must be JSON", errors=(Finding(path="/a", rule="is no b"),))
    known = ReferralRequest(_SEED_ID, attempt=8, cause="referral-updated", changed_at=_NOW)
    rejects = []
    for received, request in ((b"hello", None), (b"\xff", None), (bodies[0], known)):
        messages = reject_messages(rejected, request=request, received=received, reject_id="r/2", source=_COLLECTION)
        rejects += [message.body for message in messages]
    part = rejects[0].replace(b'"text"', b'"part":2,"parts":3,"text"')
    return [*bodies, *rejects, part]


def _certificate_seeds() -> list[bytes]:
    intermediate = _authorities()[1]
    plain = Identity.issue(intermediate, key=_leaf().key, extensions={x509.ExtendedKeyUsage: None})
    return [_leaf().der + intermediate.der, plain.der + intermediate.der, _leaf().der, _leaf().pem]
