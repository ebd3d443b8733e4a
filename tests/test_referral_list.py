"""The list call against the stand-in: what is asked for, and what no answer can make the app do."""

import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from local_stack.stack import SERVICE_BUS, Stack
from local_stack.stand_ins.identity import CLIENT_ID
from local_stack.stand_ins.partner_center import AUDIENCE, LIST, Fault
from referral_fn.credentials.token_source import TokenSource
from referral_fn.errors import PermanentError, RetryableError
from referral_fn.partner_center import PartnerCenter
from referral_fn.referral_list import Page, Query, ReferralList, _skip_token
from referral_fn.settings import read_settings
from tests.tokens import FixedCredential

BY_CHANGE = Query("updatedDateTime")


@pytest.fixture
async def referral_list(stand_ins: Stack) -> AsyncIterator[ReferralList]:
    queues = await stand_ins.fresh_queues(inbound=SERVICE_BUS, outbound=SERVICE_BUS)
    settings = read_settings(stand_ins.environment(queues, REFERRALS_RETRY_BUDGET="0.5"))
    token = stand_ins.issuer.mint(AUDIENCE, CLIENT_ID, 600)
    tls = ssl.create_default_context(cafile=stand_ins.authority.root)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
        partner_center = PartnerCenter(settings, session, TokenSource(lambda: FixedCredential(token)))
        yield ReferralList(partner_center, settings.source)


async def walk(referral_list: ReferralList, query: Query = BY_CHANGE) -> list[Page]:
    return [page async for page in referral_list.pages(query)]


@pytest.mark.parametrize("query", [BY_CHANGE, Query("updatedDateTime desc"), Query("createdDateTime")])
async def test_every_referral_is_listed_once_whatever_the_pages(
    referral_list: ReferralList, stand_ins: Stack, query: Query
) -> None:
    stand_ins.partner_center.listing.page_size = 5
    stand_ins.partner_center.listing.empty_pages = 2
    pages = await walk(referral_list, query)
    ids = [listed.referral_id for page in pages for listed in page.referrals]
    assert sorted(ids) == sorted(stand_ins.partner_center.referrals)
    assert [len(page.referrals) for page in pages[:6]] == [0, 0, 5, 0, 0, 5]


async def test_a_filter_and_the_order_are_passed_on(referral_list: ReferralList) -> None:
    (page,) = await walk(referral_list, Query("updatedDateTime", "updatedDateTime ge 2026-01-15T00:00:00Z"))
    times = [listed.updated_at for listed in page.referrals if listed.updated_at]
    assert times == sorted(times)
    assert 0 < len(times) < 24


async def test_a_token_that_comes_twice_ends_the_walk(referral_list: ReferralList, stand_ins: Stack) -> None:
    stand_ins.partner_center.listing.page_size = 5
    stand_ins.partner_center.listing.repeats_token = True
    with pytest.raises(PermanentError, match="repeats") as raised:
        await walk(referral_list)
    assert raised.value.reason == "invalid-list"
    assert stand_ins.partner_center.listing.pages == 2


async def test_an_unsupported_query_is_refused_with_its_status(referral_list: ReferralList) -> None:
    with pytest.raises(PermanentError) as raised:
        await walk(referral_list, Query("name"))
    assert raised.value.upstream is not None
    assert (raised.value.reason, raised.value.upstream["status"]) == ("upstream-refused", 400)


@pytest.mark.parametrize("document", [{"error": "busy"}, {"value": None}, [], None])
async def test_an_answer_that_is_no_list_may_be_one_at_the_next_attempt(
    referral_list: ReferralList, stand_ins: Stack, monkeypatch: pytest.MonkeyPatch, document: Any
) -> None:
    monkeypatch.setattr(stand_ins.partner_center.listing, "answer", lambda *_: document)
    with pytest.raises(RetryableError, match="not a list") as raised:
        await walk(referral_list)
    assert raised.value.reason == "upstream-unavailable"


async def test_a_throttled_list_closes_the_gate_for_all_calls(referral_list: ReferralList, stand_ins: Stack) -> None:
    stand_ins.partner_center.faults[LIST] = Fault("status", 429, retry_after="30", times=1)
    for calls in (1, 1):
        with pytest.raises(RetryableError) as raised:
            await walk(referral_list)
        assert raised.value.reason == "upstream-throttled"
        assert len(stand_ins.partner_center.calls) == calls


@pytest.mark.parametrize(
    ("link", "token"),
    [
        (None, None),
        ("http://api.partner.microsoft.com/v1.0/referrals?$skiptoken=abc", "abc"),
        ("http://x/?$top=1&%24skipToken=a%2Bb%3D", "a+b="),
        ("http://x/?$skiptoken=a+b/c==", "a+b/c=="),
    ],
)
def test_of_a_link_to_the_next_page_only_the_token_is_read(link: str | None, token: str | None) -> None:
    assert _skip_token(link) == token


@pytest.mark.parametrize("link", ["", "http://x/", "http://x/?$skiptoken=", 7, {"uri": "x"}])
def test_a_link_without_a_token_is_an_error(link: Any) -> None:
    with pytest.raises(PermanentError):
        _skip_token(link)
