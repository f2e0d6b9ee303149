"""Pyodide in Node and in Chromium, with the built wheel in it, by pytest-pyodide's runners."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_pyodide.config import get_global_config
from pytest_pyodide.runner import NodeRunner, SeleniumChromeRunner
from pytest_pyodide.server import spawn_web_server
from tools.build_wheel import build_wheel

from tests.e2e.browser import FLAGS

ROOT = Path(__file__).resolve().parents[2]
# What the core suites import, beside the package itself.
PACKAGES = ["pytest", "pluggy", "iniconfig", "packaging", "pygments", "hypothesis"]
PACKAGES += ["sortedcontainers", "micropip"]

RUNNERS = {"node": NodeRunner, "chrome": SeleniumChromeRunner}


@pytest.fixture(scope="session")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Pyodide from npm, the wheels as PyPI has them, ours, and the suites."""
    folder = tmp_path_factory.mktemp("pyodide") / "dist"
    shutil.copytree(ROOT / "node_modules" / "pyodide", folder)
    wheels = folder / "wheels"
    wheels.mkdir()
    build_wheel(wheels)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--python-version", "3.14", "--platform", "any", "--only-binary", ":all:"]
    subprocess.run([*command, "--dest", str(wheels), *_pinned(PACKAGES)], check=True)
    lock = json.loads((folder / "pyodide-lock.json").read_text())
    lock["packages"] = {}
    (folder / "pyodide-lock.json").write_text(json.dumps(lock))
    with zipfile.ZipFile(folder / "suites.zip", "w") as archive:
        archive.write(ROOT / "tests" / "__init__.py", "tests/__init__.py")
        for path in sorted((ROOT / "tests" / "core").glob("*.py")):
            archive.write(path, f"tests/core/{path.name}")
    return folder


def _pinned(names: list[str]) -> list[str]:
    """Name the versions that are installed here, so that both sides run the same."""
    from importlib.metadata import version

    # Newer releases of micropip need a newer Python than may be here.
    return [name if name == "micropip" else f"{name}=={version(name)}" for name in names]


@pytest.fixture(scope="session", params=["node", "chrome"])
def pyodide(request: pytest.FixtureRequest, distribution: Path) -> Iterator[Any]:
    """A runner with the wheels installed and the suites unpacked in /suites."""
    get_global_config().set_flags("chrome", FLAGS)
    with spawn_web_server(distribution) as (host, port, log):
        runner = RUNNERS[request.param](
            server_port=port, server_hostname=host, server_log=log, dist_dir=distribution
        )
        try:
            runner.set_script_timeout(240)
            base = f"http://{host}:{port}/"
            wheels = [f"{base}wheels/{path.name}" for path in (distribution / "wheels").iterdir()]
            runner.run_js(
                f"""
                const load = async (url) => (await fetch(url)).arrayBuffer();
                const wheels = {json.dumps(wheels)};
                const micropip = wheels.find((url) => url.includes("/micropip-"));
                for (const url of wheels.filter((url) => /micropip-|packaging-/.test(url)))
                    pyodide.unpackArchive(await load(url), "wheel");
                const rest = wheels.filter((url) => !/micropip-|packaging-/.test(url));
                await pyodide.pyimport("micropip").install.callKwargs(rest, {{deps: false}});
                pyodide.unpackArchive(await load("{base}suites.zip"), "zip",
                                      {{extractDir: "/suites"}});
                """
            )
            runner.base = base
            yield runner
        finally:
            runner.quit()
