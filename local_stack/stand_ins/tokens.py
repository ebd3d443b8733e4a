"""Access tokens as Entra ID signs them, and their validation by a service."""

import time
import uuid
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

TENANT = "3f2d0e8c-9a3b-4a4e-8d51-6f0b7c1a2d3e"
ISSUER = f"https://sts.windows.net/{TENANT}/"


def object_id(name: str) -> str:
    """The object ID of an identity or a user."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


class Issuer:
    """Holds the tenant's signing key."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()
        """Every issued token. None of them may appear in a log or a response."""
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def mint(self, audience: str, client_id: str, lifetime: float, **claims: Any) -> str:
        """Sign a token for an audience, valid from now for `lifetime` seconds."""
        now = int(time.time())
        standard = {
            "aud": audience,
            "iss": ISSUER,
            "iat": now,
            "nbf": now,
            "exp": now + int(lifetime),
            "appid": client_id,
            "oid": object_id(client_id),
            "sub": object_id(client_id),
            "tid": TENANT,
            "uti": uuid.uuid4().hex,
        }
        token = jwt.encode({**standard, **claims}, self._key, algorithm="RS256", headers={"kid": "local"})
        self.secrets.add(token)
        return token

    def check(self, token: str, audience: str) -> dict[str, Any]:
        """The claims of a token for the audience.

        Raises:
            jwt.InvalidTokenError: its signature, issuer, audience or validity period is invalid, or a claim is missing.
        """
        required = ["aud", "iss", "iat", "nbf", "exp"]
        return jwt.decode(
            token,
            self._key.public_key(),
            algorithms=["RS256"],
            audience=audience,
            issuer=ISSUER,
            options={"require": required},
        )
