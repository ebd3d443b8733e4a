"""Signs what Schemathesis sends to the webhook, as Partner Center does."""

import base64
import os
from pathlib import Path
from typing import Any

import schemathesis
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from requests import PreparedRequest


def sign(request: PreparedRequest) -> PreparedRequest:
    """Replace those of the signature's headers that are there. One left out stays out: that must be refused."""
    key = serialization.load_pem_private_key(Path(os.environ["SIGNING_KEY"]).read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    body = request.body or b""
    assert isinstance(body, str | bytes)
    signature = key.sign(body.encode() if isinstance(body, str) else body, padding.PKCS1v15(), hashes.SHA256())
    token = f"Signature {base64.b64encode(signature).decode()}"
    right = {
        "Authorization": token,
        "x-ms-signature": token,
        "x-ms-certificate-url": os.environ["CERTIFICATE_URL"],
        "x-ms-signature-algorithm": "rsa-sha256",
    }
    request.headers.update({name: value for name, value in right.items() if name in request.headers})
    return request


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    if case.operation.path == "/webhooks/partner-center":
        kwargs["auth"] = sign
