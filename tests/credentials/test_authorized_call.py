"""A call with an access token, and what follows when the token is refused."""

from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from referral_fn import http_call
from referral_fn.credentials import authorized_call
from referral_fn.http_call import Response

SCOPE = "https://vault.azure.net/.default"


class Tokens:
    """Replaces a refused token by the next one, as long as there is one."""

    def __init__(self, *texts: str) -> None:
        self._texts = list(texts)

    async def token(self, scope: str, *, refused: str | None = None) -> str:
        assert scope == SCOPE
        if refused == self._texts[0] and len(self._texts) > 1:
            del self._texts[0]
        return self._texts[0]


@pytest.mark.parametrize(
    ("tokens", "statuses", "sent"),
    [
        (["a", "b"], [200], ["a"]),
        (["a", "b"], [403], ["a"]),
        (["a", "b"], [401, 200], ["a", "b"]),
        (["a", "b", "c"], [401, 401], ["a", "b"]),
        (["a"], [401], ["a"]),
    ],
)
async def test_a_refused_token_is_replaced_once(
    tokens: list[str], statuses: list[int], sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, str]] = []

    async def send(*_arguments: Any, headers: dict[str, str], seconds: float) -> Response:
        assert seconds == 5
        calls.append(headers)
        return Response(statuses[len(calls) - 1], CIMultiDictProxy(CIMultiDict()), b"")

    monkeypatch.setattr(http_call, "send", send)
    source: Any = Tokens(*tokens)
    session: Any = None
    response = await authorized_call.send(
        session, source, SCOPE, "GET", "https://x", headers={"Accept": "text/plain"}, seconds=5
    )
    assert response.status == statuses[-1]
    assert calls == [{"Authorization": f"Bearer {token}", "Accept": "text/plain"} for token in sent]
