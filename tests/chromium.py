"""The browser for tests and benchmarks of the HTML report: Debian's Chromium, driven by Selenium."""

import shutil
from pathlib import Path

from selenium import webdriver

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
)


def missing() -> str | None:
    """Why no browser can be started here, None where one can."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(absent)} not installed (apt-get install chromium chromium-driver)" if absent else None


def open_chromium(profile: Path, width: int = 1440, height: int = 1000) -> webdriver.Chrome:
    """Starts a headless browser with a fresh profile; nothing is downloaded, as both programs are named.

    Args:
        profile: an empty directory for what the browser remembers.
        width: of the window, in pixels.
        height: of the window, in pixels.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS.split(), f"--user-data-dir={profile}", f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
