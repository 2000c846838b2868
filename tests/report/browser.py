"""A page opened in a browser that has no network."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH")


def opened(html: str, folder: Path) -> tuple[str, list[str]]:
    """The page's document after its scripts ran, and the browser's console, without a network."""
    page = folder / "page.html"
    page.write_text(html, encoding="utf-8")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        f"--user-data-dir={folder / 'profile'}",
        "--proxy-server=127.0.0.1:9",  # the discard port: nothing answers
        "--virtual-time-budget=5000",
        "--enable-logging=stderr",
        "--dump-dom",
    ]
    done = subprocess.run(
        [str(BROWSER), *options, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def drawn(dom: str) -> list[str]:
    """The charts that the chart library has drawn in the browser, in place of the pictures."""
    embedded = r'<div class="chart[^"]* vega-embed[^"]*" data-chart="(\w+)"[^>]*>'
    pattern = embedded + r'<div class="chart-wrapper[^>]*><svg[^>]*class="marks"'
    return re.findall(pattern, dom)
