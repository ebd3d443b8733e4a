"""A web page for the local stack: watch referrals pass through the app, and inject faults. For this machine only."""

from local_stack.demo.page import SETTINGS, Page, opened

__all__ = ["SETTINGS", "Page", "opened"]
