"""The local stack's page, in Chromium: how referrals are shown, what each control does, and what is refused."""

import contextlib
import json
import os
import re
import uuid
from collections.abc import AsyncIterator

import aiohttp
import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Browser, Locator, expect
from playwright.async_api import Page as Tab

from local_stack import demo
from local_stack.demo.browser import NoBrowserError, chromium
from local_stack.stack import SERVICE_BUS, STORAGE, Stack
from local_stack.stand_ins.partner_center import ANY, Fault
from local_stack.stand_ins.referrals import REFERRALS
from local_stack.stand_ins.serving import serving
from local_stack.stand_ins.webhooks import EVENTS

LEAD, OTHER = REFERRALS[1], REFERRALS[2]
QUICK = {"REFERRALS_DEFERRAL_SCHEDULE": "1,1,1,1,1,1,1,1", "REFERRALS_RETRY_BUDGET": "0.5"}
QUICK |= {"AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.1"}

expect.set_options(timeout=20_000)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with contextlib.AsyncExitStack() as opening:
        try:
            opened = await opening.enter_async_context(chromium())
        except NoBrowserError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))
        yield opened


@pytest.fixture
def queue_kind() -> str:
    """The default kind of the queues."""
    return STORAGE


@pytest.fixture
async def served(stack: Stack, queue_kind: str) -> AsyncIterator[demo.Page]:
    queues = await stack.fresh_queues(inbound=queue_kind, outbound=queue_kind)
    async with demo.opened(stack, queues, 0, QUICK) as opened:
        url = f"{opened.url}/api/webhooks/partner-center"
        registration = {"WebhookUrl": url, "WebhookEvents": EVENTS, "SignatureTokenToMsSignatureHeader": True}
        stack.webhooks.registration = registration
        yield opened
    stack.webhooks.registration, stack.webhooks.dropped = None, 0


@contextlib.asynccontextmanager
async def opened_tab(browser: Browser, url: str, **options: object) -> AsyncIterator[Tab]:
    """A tab in its own browsing context. Fails on page errors, policy violations and requests to other sites."""
    problems: list[str] = []
    context = await browser.new_context(permissions=["clipboard-read", "clipboard-write"], **options)  # type: ignore[arg-type]
    try:
        opened = await context.new_page()
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.on(
            "console", lambda message: problems.append(message.text) if "Security Policy" in message.text else None
        )
        opened.on("request", lambda sent: None if sent.url.startswith(url) else problems.append(sent.url))
        await opened.goto(url + "/")
        yield opened
    finally:
        await context.close()
    assert problems == []


@pytest.fixture
async def tab(browser: Browser, served: demo.Page) -> AsyncIterator[Tab]:
    async with opened_tab(browser, served.url) as opened:
        await expect(opened.locator("#connection")).to_have_text("Connected")
        yield opened


async def send(tab: Tab, what: str, by: str) -> None:
    known = await tab.locator(f'option[value="{what}"]').count()
    await tab.get_by_label("Referral", exact=True).select_option(what if known else "")
    if not known:
        await tab.get_by_label("ID or message").fill(what)
    await tab.get_by_label(by, exact=True).check()
    await tab.get_by_role("button", name="Send", exact=True).click()


def row(tab: Tab, name: str = LEAD["name"]) -> Locator:
    return tab.locator("#referrals > li").filter(has=tab.get_by_role("heading", name=name, exact=True))


async def test_an_empty_page_says_what_to_do(tab: Tab) -> None:
    await expect(tab.get_by_text("None yet. Send one.")).to_be_visible()
    await expect(tab.get_by_text("to read it here")).to_be_visible()
    await expect(tab.get_by_role("button", name="Copy")).to_be_hidden()
    await expect(tab.locator("#requests")).to_have_text("0")
    await expect(tab.locator("#trouble")).to_be_hidden()


@pytest.mark.parametrize("queue_kind", [STORAGE, SERVICE_BUS])
@pytest.mark.parametrize(
    ("by", "status", "trail"),
    [
        ("HTTP", "Response: 200 with the event.", "received by HTTP"),
        ("Queue", "Sent to referral-requests.", "received by queue"),
        ("Signed webhook", "Response to its notification: 202", "received by webhook"),
    ],
)
async def test_a_referral_is_shown_from_request_to_event(tab: Tab, by: str, status: str, trail: str) -> None:
    await send(tab, LEAD["id"], by)
    await expect(tab.locator("#sent")).to_contain_text(status)
    await expect(row(tab).locator(".state")).to_have_text("Forwarded")
    await expect(row(tab).locator(".trail")).to_contain_text(trail)
    await expect(row(tab).locator(".trail")).to_contain_text(re.compile(r"fetch: 200 in [\d.]+ m?s.*forwarded"))
    await expect(tab.locator("#events")).to_have_text("1")
    await expect(tab.locator("#news")).to_contain_text(f"{LEAD['name']}: forwarded.")


async def test_an_event_can_be_shown_copied_and_sent_again(tab: Tab) -> None:
    await send(tab, LEAD["id"], "HTTP")
    await row(tab).get_by_role("button", name="Event").click()
    await expect(tab.get_by_role("heading", name=f"Event: {LEAD['name']}")).to_be_focused()
    await tab.get_by_role("button", name="Copy").click()
    await expect(tab.locator("#copied")).to_have_text("Copied.")
    shown = await tab.locator("#json").inner_text()
    assert await tab.evaluate("navigator.clipboard.readText()") == shown
    assert json.loads(shown)["subject"] == LEAD["id"]
    await tab.get_by_role("button", name="Send again").click()
    await expect(tab.locator("#copied")).to_have_text("Sent to referral-requests.")
    await expect(tab.locator("#events")).to_have_text("2")


async def test_the_page_reports_that_copying_is_not_allowed(tab: Tab) -> None:
    await send(tab, LEAD["id"], "HTTP")
    await row(tab).get_by_role("button", name="Event").click()
    await tab.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')) }")
    await tab.get_by_role("button", name="Copy").click()
    await expect(tab.locator("#copied")).to_contain_text("does not allow copying")


@pytest.mark.parametrize(
    ("message", "heading", "reason"),
    [
        (str(uuid.UUID(int=9)), "Unknown referral", "referral-not-found"),
        ("<b>no ID</b>", "Message without a referral ID", "invalid-request"),
    ],
)
async def test_a_message_without_a_known_referral_becomes_a_reject(
    tab: Tab, message: str, heading: str, reason: str
) -> None:
    await send(tab, message, "Queue")
    await expect(row(tab, heading).locator(".state")).to_have_text(f"Rejected, {reason}")
    await expect(tab.locator("#rejects")).to_have_text("1")
    await row(tab, heading).get_by_role("button", name="Reject").click()
    await expect(tab.locator("#json")).to_contain_text(f'"reason": "{reason}"')


async def test_a_reject_that_is_sent_again_shows_its_event(tab: Tab) -> None:
    await tab.get_by_label("Has no such referral").check()
    await expect(tab.locator("#faulty")).to_have_text("Faults are active.")
    await send(tab, LEAD["id"], "Queue")
    await row(tab).get_by_role("button", name="Reject").click()
    await expect(tab.get_by_role("heading", name=f"Reject: {LEAD['name']}")).to_be_visible()
    await tab.get_by_role("button", name="Clear faults").click()
    await expect(tab.locator("#faulty")).to_have_text("No faults.")
    await tab.get_by_role("button", name="Send again").click()
    await expect(row(tab).locator(".state")).to_have_text("Forwarded")
    await expect(row(tab).get_by_role("button", name="Event")).to_be_visible()
    await expect(tab.get_by_role("heading", name=f"Event: {LEAD['name']}")).to_be_visible()


async def test_the_latest_activity_comes_first_with_ids_beside_names(tab: Tab) -> None:
    first = tab.locator("#referrals > li").first
    for referral in (LEAD, OTHER, LEAD):
        await send(tab, referral["id"], "HTTP")
        await expect(first.get_by_role("heading")).to_have_text(referral["name"])
        await expect(first.locator(".id")).to_have_text(referral["id"])
        await expect(first.locator(".state")).to_have_text("Forwarded")


async def test_a_refused_call_says_why(tab: Tab) -> None:
    await send(tab, "no ID", "HTTP")
    state = row(tab, "Unknown referral").locator(".state")
    await expect(state).to_have_text(re.compile("Caller got 400, invalid-request: .*GUID"))


async def test_each_item_of_a_batch_has_a_row(tab: Tab, served: demo.Page) -> None:
    async with aiohttp.ClientSession() as session:
        await session.post(f"{served.url}/api/referrals", json={"referralIds": [LEAD["id"], "no ID"]})
        await session.post(f"{served.url}/api/referrals", json={"referralId": OTHER["id"]})
    await expect(row(tab).locator(".trail")).to_contain_text("received by batch")
    await expect(row(tab).locator(".state")).to_have_text("Forwarded")
    await expect(row(tab, OTHER["name"]).locator(".trail")).to_contain_text("received by HTTP")
    refused = row(tab, "Item of a batch")
    await expect(refused.locator(".state")).to_have_text("Refused: must be a GUID")
    await expect(refused.locator(".id")).to_have_text("batch item no ID")


async def test_a_refused_notification_has_a_row(tab: Tab, served: demo.Page) -> None:
    async with aiohttp.ClientSession() as session:
        await session.post(f"{served.url}/api/webhooks/partner-center", json={"EventName": "referral-updated"})
    await expect(row(tab, "Notification").locator(".state")).to_contain_text("(check: ")


async def test_what_a_command_forwards_has_a_row(tab: Tab, served: demo.Page, stack: Stack) -> None:
    status, output = await stack.run_command(served.settings, "forward", LEAD["id"])
    assert status == 0, output
    await expect(row(tab).locator(".state")).to_have_text("Forwarded")
    await expect(row(tab).locator(".trail")).to_have_text(re.compile("received by command.*forwarded"))
    await expect(row(tab).get_by_role("button", name="Event")).to_be_visible()


async def test_a_long_trail_is_folded_and_can_be_unfolded(tab: Tab) -> None:
    await tab.get_by_label("Is unavailable").check()
    await expect(tab.locator("#faulty")).to_have_text("Faults are active.")
    await send(tab, LEAD["id"], "Queue")
    more = row(tab).get_by_role("button", name=re.compile(r"\d+ more steps"))
    await expect(more).to_be_visible()
    await tab.get_by_role("button", name="Clear faults").click()
    await expect(row(tab).locator(".state")).to_have_text("Forwarded after retries")
    await more.click()
    await expect(row(tab).locator(".trail li").first).to_contain_text("received by queue")
    trail = await row(tab).locator(".trail li").all_inner_texts()
    assert len(trail) > 8 and len([step for step in trail if "deferred" in step]) >= 3


async def test_on_a_narrow_screen_the_document_opens_where_it_was_asked_for(
    browser: Browser, served: demo.Page
) -> None:
    async with opened_tab(browser, served.url, viewport={"width": 360, "height": 800}) as tab:
        await expect(tab.locator("#document")).to_be_hidden()
        await send(tab, LEAD["id"], "HTTP")
        button = row(tab).get_by_role("button", name="Event")
        await button.click()
        await expect(row(tab).locator("#json")).to_be_in_viewport()
        await expect(tab.get_by_role("heading", name=f"Event: {LEAD['name']}")).to_be_focused()
        await tab.get_by_role("button", name="Back to the list").click()
        await expect(tab.locator("#document")).to_be_hidden()
        await expect(button).to_be_focused()


async def test_an_empty_message_is_not_sent(tab: Tab) -> None:
    await send(tab, "", "Queue")
    await expect(tab.locator("#sent")).to_have_text("Enter an ID or a message first.")
    await expect(tab.get_by_label("ID or message")).to_be_focused()


@pytest.mark.parametrize("by", ["HTTP", "Signed webhook"])
async def test_an_invalid_id_is_refused_with_an_explanation(tab: Tab, by: str) -> None:
    await send(tab, "no ID", by)
    await expect(tab.locator("#sent.bad")).to_contain_text("GUID" if by == "Signed webhook" else "400")


async def test_the_webhook_must_be_registered_before_use(tab: Tab, stack: Stack) -> None:
    stack.webhooks.registration = None
    await send(tab, LEAD["id"], "Signed webhook")
    await expect(tab.locator("#sent.bad")).to_contain_text("The webhook is not registered")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("Throttles", "upstream-throttled"),
        ("Is unavailable", "upstream-unavailable"),
        ("Times out", "upstream-timeout"),
        ("Refuses the app", "upstream-denied"),
        ("No new tokens", "token-unavailable"),
        ("The events queue refuses", "queue-unavailable"),
    ],
)
async def test_a_fault_defers_a_referral_until_it_is_cleared(tab: Tab, fault: str, reason: str) -> None:
    await tab.get_by_label(fault).check()
    await expect(tab.locator("#faulty")).to_have_text("Faults are active.")
    await send(tab, LEAD["id"], "Queue")
    await expect(row(tab).locator(".state")).to_have_text(re.compile(f"Deferred, {reason}; again (in|any)"))
    await tab.get_by_role("button", name="Clear faults").click()
    await expect(tab.locator("#faulty")).to_have_text("No faults.")
    await expect(tab.get_by_label("No fault")).to_be_checked()
    await expect(row(tab).locator(".state")).to_have_text("Forwarded after retries")
    await expect(row(tab).locator(".trail")).to_contain_text("deferred")
    await expect(tab.locator("#requests")).to_have_text("0")


@pytest.mark.parametrize("queue_kind", [SERVICE_BUS])
async def test_a_service_bus_fault_defers_too(tab: Tab) -> None:
    await test_a_fault_defers_a_referral_until_it_is_cleared(tab, "The events queue", "queue-unavailable")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("Has no such referral", "referral-not-found"), ("Returns an invalid document", "invalid-referral")],
)
async def test_permanent_faults_reject(tab: Tab, fault: str, reason: str) -> None:
    await tab.get_by_label(fault).check()
    await expect(tab.locator("#faulty")).to_have_text("Faults are active.")
    await send(tab, LEAD["id"], "Queue")
    await expect(row(tab).locator(".state")).to_have_text(f"Rejected, {reason}")


async def test_an_http_caller_gets_the_error_immediately(tab: Tab) -> None:
    await tab.get_by_label("Is unavailable").check()
    await expect(tab.locator("#faulty")).to_have_text("Faults are active.")
    await send(tab, LEAD["id"], "HTTP")
    await expect(tab.locator("#sent.bad")).to_contain_text("503")
    await expect(row(tab).locator(".state")).to_have_text("Caller got 503, upstream-unavailable")


async def test_a_dropped_notification_is_found_by_reconciliation_and_shows_what_changed(tab: Tab) -> None:
    await send(tab, LEAD["id"], "HTTP")
    await expect(row(tab).locator(".state")).to_have_text("Forwarded")
    await tab.get_by_label("Notifications are dropped").check()
    await expect(tab.locator("#faulty")).to_have_text("Faults are active.")
    await send(tab, LEAD["id"], "Signed webhook")
    await expect(tab.locator("#sent")).to_have_text("Changed in Partner Center. Its notification was dropped.")
    await expect(row(tab).locator(".state")).to_have_text("Changed, and not announced")
    await tab.get_by_role("button", name="Reconcile now").click()
    await expect(row(tab).locator(".state")).to_have_text("Forwarded")
    await expect(tab.locator("#faulty")).to_have_text("Reconciled: 1 changed, 1 requested.")
    trail = row(tab).locator(".trail")
    await expect(trail).to_contain_text(re.compile(r"notification dropped.*found by reconciliation.*fetch: 200"))
    await expect(trail).to_contain_text("changed: etag, updatedAt")
    await row(tab).get_by_role("button", name="Event").click()
    await expect(tab.locator("#json")).to_contain_text('"changed": "etag,updatedAt"')
    await expect(tab.locator("#json")).to_contain_text('"cause": "reconcile"')


async def test_a_fault_set_outside_the_page_is_shown(tab: Tab, stack: Stack) -> None:
    stack.partner_center.faults[ANY] = Fault("reset")
    await expect(tab.get_by_label("Another fault")).to_be_checked()
    await tab.get_by_role("button", name="Clear faults").click()
    await expect(tab.get_by_label("Another fault")).to_be_hidden()


async def test_a_page_opened_later_shows_the_history(tab: Tab, browser: Browser, served: demo.Page) -> None:
    await send(tab, LEAD["id"], "HTTP")
    await send(tab, OTHER["id"], "Queue")
    await expect(tab.locator("#events")).to_have_text("2")
    async with opened_tab(browser, served.url) as later:
        await expect(row(later).locator(".state")).to_have_text("Forwarded")
        await expect(row(later, OTHER["name"]).get_by_role("button", name="Event")).to_be_visible()
        await expect(later.locator("#news")).to_be_empty()


async def test_the_page_reports_that_the_app_has_stopped(tab: Tab, served: demo.Page) -> None:
    await served.host.kill()
    await expect(tab.get_by_role("alert")).to_contain_text("The app has stopped")
    await send(tab, LEAD["id"], "HTTP")
    await expect(tab.locator("#sent.bad")).to_contain_text("The app does not answer.")


async def test_the_page_reports_that_the_queues_do_not_respond(
    tab: Tab, served: demo.Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: demo.Page) -> None:
        raise aiohttp.ClientConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(demo.Page, "_read_queues", refuse)
        await expect(tab.get_by_role("alert")).to_contain_text("The queues do not respond.")
    await expect(tab.locator("#trouble")).to_be_hidden()


async def test_the_page_reconnects_after_the_stack_was_stopped(browser: Browser, served: demo.Page) -> None:
    async with contextlib.AsyncExitStack() as second:
        first = contextlib.AsyncExitStack()
        url = await first.enter_async_context(serving(served.site()))
        async with opened_tab(browser, url) as tab:
            await expect(tab.locator("#connection")).to_have_text("Connected")
            await first.aclose()
            await expect(tab.get_by_role("alert")).to_contain_text("The local stack has stopped")
            await send(tab, LEAD["id"], "Queue")
            await expect(tab.locator("#sent.bad")).to_contain_text("The local stack does not respond.")
            port = int(url.rpartition(":")[2])
            await second.enter_async_context(serving(served.site(), port))
            await expect(tab.locator("#connection")).to_have_text("Connected")
            await expect(tab.locator("#trouble")).to_be_hidden()


async def test_everything_works_with_the_keyboard_alone(tab: Tab) -> None:
    await tab.keyboard.press("Tab")
    await expect(tab.get_by_text("Skip to the referrals")).to_be_focused()
    await tab.keyboard.press("Tab")
    await expect(tab.get_by_label("Referral", exact=True)).to_be_focused()
    await tab.keyboard.press("ArrowDown")
    await tab.keyboard.press("Tab")
    await tab.keyboard.press("ArrowDown")
    await expect(tab.get_by_label("Queue", exact=True)).to_be_checked()
    await tab.keyboard.press("Tab")
    await tab.keyboard.press("Enter")
    button = row(tab, OTHER["name"]).get_by_role("button", name="Event")
    await expect(button).to_be_visible()
    for label in ("No fault", "Notifications are dropped", "No new tokens", "The events queue refuses"):
        await tab.keyboard.press("Tab")
        await expect(tab.get_by_label(label)).to_be_focused()
    await tab.keyboard.press("Tab")
    await expect(tab.get_by_role("button", name="Clear faults")).to_be_focused()
    await tab.keyboard.press("Tab")
    await expect(tab.get_by_role("button", name="Reconcile now")).to_be_focused()
    await tab.keyboard.press("Tab")
    await expect(button).to_be_focused()
    await tab.keyboard.press("Enter")
    await expect(tab.locator("#document-title")).to_be_focused()
    for name in ("Send again", "Copy"):
        await tab.keyboard.press("Tab")
        await expect(tab.get_by_role("button", name=name)).to_be_focused()
    await tab.keyboard.press("Enter")
    await expect(tab.locator("#copied")).to_have_text("Copied.")
    await tab.keyboard.press("Tab")
    await expect(tab.locator("#json")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
async def test_axe_finds_no_violations_and_nothing_is_cut_off(
    browser: Browser, served: demo.Page, scheme: str, width: int
) -> None:
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}, "reduced_motion": "reduce"}
    async with opened_tab(browser, served.url, **options) as tab:
        await send(tab, str(uuid.UUID(int=9)), "Queue")
        await send(tab, OTHER["id"], "HTTP")
        await row(tab, OTHER["name"]).get_by_role("button", name="Event").click()
        await expect(tab.locator("#rejects")).to_have_text("1")
        await tab.get_by_label("Throttles").check()
        await send(tab, LEAD["id"], "Queue")
        await expect(row(tab).locator(".state.wait")).to_be_visible()
        # evaluated over the debugging protocol, which the page's policy does not restrict
        report = await Axe().run(tab)
        assert report.response["passes"] and report.violations_count == 0, report.generate_report()
        background = await tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(20, 23, 28)") is (scheme == "dark")
        assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert await tab.evaluate("document.getAnimations().length") == 0


async def test_other_websites_are_refused(served: demo.Page) -> None:
    port = served.url.rpartition(":")[2]
    async with aiohttp.ClientSession() as session:
        for headers, status in (
            ({}, 200),
            ({"Host": f"localhost:{port}"}, 200),
            ({"Origin": served.url}, 200),
            ({"Host": f"evil.example:{port}"}, 403),
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Origin": f"https://127.0.0.1:{port}"}, 403),
        ):
            for method, path in (("GET", "/"), ("PUT", "/local/faults"), ("GET", "/api/health")):
                body = b'{"partnerCenter": ""}' if method == "PUT" else None
                async with session.request(method, served.url + path, headers=headers, data=body) as answer:
                    assert (answer.status, headers) == (status, headers)
        async with session.get(served.url) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "faults", b"[]"),
        ("PUT", "faults", b'{"partnerCenter": "on fire"}'),
        ("POST", "requests", b" "),
        ("POST", "requests", b"x" * (48 * 1024 + 1)),
        ("POST", "notifications", b"no JSON"),
    ],
)
async def test_invalid_bodies_are_refused(served: demo.Page, method: str, path: str, body: bytes) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{served.url}/local/{path}", data=body) as answer,
    ):
        assert answer.status == 400
        assert (await answer.json())["error"]
