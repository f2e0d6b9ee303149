"""The two commands of a checkout, which set up all that they need.

``python3 tools/dev.py serve`` serves the page with the default image;
``python3 tools/dev.py test`` runs every check.  Needs Python 3.11 and Node 20.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts" if os.name == "nt" else "bin") / "python"
SITE = ROOT / "dist" / "site"

# Programs and directories that the tests need, and the Debian packages that bring them.
PACKAGES = {
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "firefox-esr": "firefox-esr",
    "WebKitWebDriver": "webkit2gtk-driver",
    "Xvfb": "xvfb",
    "umoci": "umoci",
    "buildah": "buildah",
    "skopeo": "skopeo",
    "mmdebstrap": "mmdebstrap",
    "arch-test": "arch-test",  # without it mmdebstrap takes i386 for foreign on amd64
    "diod": "diod",
    "qemu-system-x86_64": "qemu-system-x86",
    "bsdtar": "libarchive-tools",
    "zstd": "zstd",
    "/usr/bin/cargo": "cargo-web",
    "/usr/bin/rustc": "rustc-web",
    "cc": "gcc",
    "g++": "g++",
    "musl-gcc": "musl-tools",
    "/usr/include/stdio.h": "libc6-dev",
    "setfattr": "attr",
    "setcap": "libcap2-bin",
    "xz": "xz-utils",
    "docker-registry": "docker-registry",
    "nginx": "nginx-light",
    "curl": "curl",
    "openssl": "openssl",
    "wget": "wget",
    "go": "golang-go",
    "/usr/share/gocode/src/github.com/containerd/stargz-snapshotter/estargz": (
        "golang-github-containerd-stargz-snapshotter-dev"
    ),
}

# The crates of the 64-bit machine, but for the one that only a browser or Node can run.
MACHINE = ("--manifest-path", "machine/Cargo.toml", "--workspace", "--features", "simd/iced")


def run(*command: str | Path, directory: Path = ROOT) -> None:
    """Run a program and end with its exit code where it fails."""
    print("+", *command, flush=True)
    done = subprocess.run([str(part) for part in command], cwd=directory, check=False)
    if done.returncode:
        raise SystemExit(f"failed with exit code {done.returncode}: {command[0]}")


def check_versions() -> None:
    """End with a message where Python or Node is missing or too old."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        raise SystemExit("Node 20 or newer is needed, with npm: https://nodejs.org/")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout.lstrip("v").split(".")[0]) < 20:
        raise SystemExit(f"Node 20 or newer is needed; {node} is {version.stdout.strip()}")


def set_up() -> None:
    """Install the Python and npm packages, if that was not done for these very lists."""
    check_versions()
    if _changed("python", ["pyproject.toml"]) or not PYTHON.exists():
        venv.create(VENV, with_pip=True, clear=True)
        # pip learned about dependency groups in 25.1.
        run(PYTHON, "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1")
        run(PYTHON, "-m", "pip", "install", "--quiet", "--editable", ".", "--group", "dev")
        # pytest-pyodide's script for Node must not be taken for one of our ES modules.
        (VENV / "package.json").write_text('{"type": "commonjs"}\n')
        _remember("python", ["pyproject.toml"])
    modules = ROOT / "node_modules"
    if _changed("npm", ["package-lock.json"]) or not modules.is_dir():
        run("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")
        _remember("npm", ["package-lock.json"])


def _stamp(name: str) -> Path:
    return ROOT / "build" / f"{name}.stamp"


def _key(inputs: Sequence[str]) -> str:
    parts = [hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in inputs]
    return json.dumps([sys.version, *parts])


def _changed(name: str, inputs: Sequence[str]) -> bool:
    stamp = _stamp(name)
    return not stamp.exists() or stamp.read_text() != _key(inputs)


def _remember(name: str, inputs: Sequence[str]) -> None:
    stamp = _stamp(name)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(_key(inputs))


def install_programs() -> None:
    """Install the programs that the tests need, where some are missing."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

    def is_there(name: str) -> bool:
        return Path(name).exists() if name[0] == "/" else shutil.which(name, path=path) is not None

    missing = sorted({package for name, package in PACKAGES.items() if not is_there(name)})
    if not missing:
        return
    root = [] if os.geteuid() == 0 else ["sudo"]
    if shutil.which("apt-get") is None or (root and shutil.which("sudo") is None):
        raise SystemExit(f"The tests need programs that are missing: {' '.join(missing)}")
    run(*root, "apt-get", "update", "-qq")
    # DEBIAN_FRONTEND has to reach apt-get through sudo as well.
    install = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq"]
    run(*root, *install, "--no-install-recommends", *missing)


def serve(port: int) -> None:
    """Build the site and serve it with the default image."""
    set_up()
    run(PYTHON, "tools/build_site.py", SITE)
    command = [str(PYTHON), "-m", "browsermount.httpd", str(SITE), "--port", str(port)]
    try:
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
    except KeyboardInterrupt:
        code = 0
    raise SystemExit(code)


def test(arguments: Sequence[str]) -> None:
    """Run every check."""
    install_programs()
    set_up()
    run(PYTHON, "-m", "ruff", "check", ".")
    run(PYTHON, "-m", "ruff", "format", "--check", ".")
    run(PYTHON, "-m", "mypy")
    run("npm", "run", "--silent", "check")
    run("node", "--test", "tests/vm/", "tests/web/")
    # The x87 unit and the SSE operations are compared with this computer's, and the kernel boots.
    # Debian's compiler, whatever else is on PATH. Its crates come from where cargo has them.
    run("env", "RUSTC=/usr/bin/rustc", "/usr/bin/cargo", "test", "--tests", "--locked", *MACHINE)
    run(PYTHON, "tools/build_site.py", SITE)
    run(PYTHON, "-m", "pytest", *arguments)


def main() -> None:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="serve the page with the default image")
    serving.add_argument("--port", type=int, default=8080, help="default: %(default)s")
    testing = commands.add_parser("test", help="run every check")
    testing.add_argument("arguments", nargs="*", help="go to pytest; put -- before them")
    options = parser.parse_args()
    if options.command == "serve":
        serve(options.port)
    else:
        test(options.arguments)


if __name__ == "__main__":
    main()
