"""Headless Chromium, and a screenshot of the local stack's page: `make screenshot`."""

import argparse
import asyncio
import contextlib
import io
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, async_playwright

from local_stack import demo
from local_stack.stack import ROOT, running
from local_stack.stand_ins.referrals import REFERRALS, SEED
from local_stack.stand_ins.webhooks import EVENTS

SCREENSHOT = ROOT / "docs" / "page.png"


class NoBrowserError(RuntimeError):
    """Chromium is not installed; the message says how to install it."""


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run a headless browser.

    Raises:
        NoBrowserError: Chromium is not installed.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        raise NoBrowserError("This needs Chromium; on Debian: apt-get install chromium")
    async with async_playwright() as playwright:
        # the sandbox needs privileges that root in a container lacks; the browser opens only our own page
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


async def take_screenshot(to: Path, width: int, height: int, *, dark: bool) -> None:
    """Send some referrals, one of them rejected and one deferred, and save a screenshot."""
    async with running() as stack, demo.opened(stack, await stack.queues()) as served, chromium() as browser:
        url = f"{served.url}/api/webhooks/partner-center"
        registration_body = {"WebhookUrl": url, "WebhookEvents": EVENTS, "SignatureTokenToMsSignatureHeader": True}
        stack.webhooks.registration = registration_body
        tab = await browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        await tab.goto(served.url)
        for what, by, outcome in (
            (SEED["id"], "HTTP", "Forwarded"),
            (REFERRALS[3]["id"], "Signed webhook", "Forwarded"),
            (REFERRALS[6]["id"], "Queue", "Forwarded"),
            (str(uuid.UUID(int=7)), "Queue", "Rejected"),
            (REFERRALS[1]["id"], "Queue", "Deferred"),
        ):
            if outcome == "Deferred":
                await tab.get_by_label("Throttles").check()
                await tab.get_by_text("Faults are active.").wait_for()
            known = await tab.locator(f'option[value="{what}"]').count()
            await tab.get_by_label("Referral", exact=True).select_option(what if known else "")
            if not known:
                await tab.get_by_label("ID or message").fill(what)
            await tab.get_by_label(by, exact=True).check()
            await tab.get_by_role("button", name="Send").click()
            await tab.locator("#referrals li .state", has_text=outcome).first.wait_for()
            await tab.locator("#referrals > li", has_text="received").first.wait_for()
        await tab.get_by_role("button", name=f"Event of {REFERRALS[6]['name']}").click()
        screenshot = Image.open(io.BytesIO(await tab.screenshot()))
    screenshot.quantize(256).save(to, optimize=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m local_stack.demo.browser", description=__doc__)
    parser.add_argument("--to", type=Path, default=SCREENSHOT)
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 1050), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--dark", action="store_true")
    options = parser.parse_args()
    asyncio.run(take_screenshot(options.to, *options.size, dark=options.dark))


if __name__ == "__main__":
    main()
