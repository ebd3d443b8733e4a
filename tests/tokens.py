"""A credential without a network."""

import time

from azure.core.credentials import AccessToken


class FixedCredential:
    """Hands out one token."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def get_token(self, *_: str) -> AccessToken:
        return AccessToken(self._token, int(time.time()) + 3600)

    async def close(self) -> None:
        """Nothing is open."""
