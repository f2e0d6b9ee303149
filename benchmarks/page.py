"""A script that an image's bash runs in the page, in headless Chromium."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from urllib.parse import urlencode

from tests.e2e.browser import chromium
from tests.fixtures.tools import umoci_add, umoci_config
from tests.servers import served
from tools.build_site import build

from benchmarks.machines import SITE

_SCRIPT = "opt/script"
_SECONDS = 1800


class PageWithScripts:
    """The page with images that run a script."""

    def __init__(self, site: str) -> None:
        self._site = site

    def run(self, name: str, platform: str, *, machine: str = "") -> str:
        """Run an image to its end in a fresh browser, and return what stands on the terminal then.

        Raises:
            RuntimeError: It cannot be run, or its script has failed.
        """
        query = {"warm": "no", "memory": "1g", "platform": f"linux/{platform}"}
        query |= {"machine": machine} if machine else {}
        query |= {"image": f"{self._site}images/{name}/"}
        with tempfile.TemporaryDirectory() as profile, chromium(profile) as page:
            page.open(f"{self._site}?{urlencode(query)}")
            page.wait_state("exited", _SECONDS)
            if "exit code 0." not in page.visible:
                raise RuntimeError(f"{page.visible}\n{page.text}")
            return page.text


@contextmanager
def page_with_scripts(images: dict[str, tuple[Path, str, str]]) -> Iterator[PageWithScripts]:
    """Build and serve the site, and images that run scripts.

    Args:
        images: By name: the layout of an image with one name, its architecture and the script.
    """
    build(SITE)
    with tempfile.TemporaryDirectory() as work:
        layouts = {}
        for name, (layout, architecture, script) in images.items():
            layouts[name] = Path(work) / name
            shutil.copytree(layout, layouts[name])
            _add_script(layouts[name], architecture, script)
        with served(SITE, **layouts) as site:
            yield PageWithScripts(site)


def _add_script(layout: Path, architecture: str, script: str) -> None:
    image = f"{layout}:latest"
    with tempfile.TemporaryDirectory() as work:
        archive = Path(work) / "layer.tar"
        content = script.encode()
        with tarfile.open(archive, "w") as tar:
            member = tarfile.TarInfo(_SCRIPT)
            member.size = len(content)
            tar.addfile(member, BytesIO(content))
        umoci_add(image, archive)
    umoci_config(
        image,
        f"--architecture={architecture}",
        "--config.cmd=/bin/bash",
        f"--config.cmd=/{_SCRIPT}",
        "--config.env=PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    )
