"""A page that is left while it starts, of which the tab has to live on.

``BROWSERMOUNT_SOAK_SECONDS`` says for how long pages are left at random moments; the ordinary run
has some seconds of it.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from tests.e2e.browser import Page
from tests.servers import served

SECONDS = float(os.environ.get("BROWSERMOUNT_SOAK_SECONDS") or 8)
SEED = int(os.environ.get("BROWSERMOUNT_SOAK_SEED") or time.time_ns())

# Longer than the default image takes until its prompt is there and Python is.
LONGEST_STAY = 2


def test_the_tab_lives_on(fresh: Page, site: str, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>somewhere else</p>")
    moments = random.Random(SEED)
    end = time.monotonic() + SECONDS
    # Of another origin in the same tab, and so in the same process.
    with served(tmp_path) as elsewhere:
        while time.monotonic() < end:
            stay = moments.uniform(0.1, LONGEST_STAY)
            fresh.driver.get(site)
            time.sleep(stay)
            fresh.driver.get(elsewhere)
            # Workers are ended behind the page's back: a crash comes a moment later.
            time.sleep(0.3)
            text = fresh.script("return document.body.innerText")
            assert text == "somewhere else", f"after {stay} s: {SEED}"
