"""Headless Chromium that reaches nothing but this machine, and tells what a page did."""

import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

UNREACHABLE = """() => [...document.querySelectorAll("*")]
  .filter((e) => /auto|scroll/.test(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth)
  .filter((e) => e.tabIndex < 0 || !e.hasAttribute("aria-label") && e.tagName !== "PRE")
  .map((e) => e.outerHTML.slice(0, 80))"""
"""What scrolls sideways and no key gets to, or has no name."""


class Watched:
    """A page, with the errors on its console and the requests that would leave this machine."""

    def __init__(self, page):
        self.page, self.errors, self.outside = page, [], []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.route("**/*", self._asked)

    def _said(self, message):
        if message.type == "error":
            self.errors.append(message.text)

    def _asked(self, route):
        if route.request.url.startswith(("http://127.0.0.1:", "http://localhost:", "file:")):
            route.continue_()
        else:
            self.outside.append(route.request.url)
            route.abort()


@contextmanager
def opened(**settings):
    """A new page of a new browser; skips the test where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine")
    with api.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield Watched(browser.new_page(**settings))
        finally:
            browser.close()
