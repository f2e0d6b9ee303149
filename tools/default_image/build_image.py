#!/usr/bin/env python3
"""Builds the default image, an OCI Image Layout in web/images/default.

The image is put together from Debian's packages by Debian's tools: mmdebstrap
downloads and verifies the packages, dpkg-deb opens them, GNU tar packs the
layers and umoci makes the image. browsermount's own convert packs the layers as
eStargz, with what the shell needs first at their start.

    sudo .venv/bin/python tools/default_image/build_image.py

recipe.json says what goes in. image.json, written next to it, says what came
out: tests/test_default_image.py fails when the two no longer belong together.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
IMAGE = HERE.parents[1] / "web" / "images" / "default"

# Command: the Debian package that has it.
TOOLS = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "ldconfig": "libc-bin",
    "mmdebstrap": "mmdebstrap",
    "tar": "tar",
    "umoci": "umoci",
}

# Debian's packages still name these, the image has them merged into /usr.
MERGED = ("bin/", "sbin/", "lib/")


class BuildError(Exception):
    """The image cannot be built; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the image where the page expects it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=IMAGE, help="default: web/images/default")
    parser.add_argument("--mirror", help="Debian mirror; default: the one apt uses here")
    options = parser.parse_args(arguments)
    try:
        build(options.output, options.mirror)
    except BuildError as error:
        print(f"build_image.py: {error}", file=sys.stderr)
        return 1
    return 0


def recipe_digest(directory: Path = HERE) -> str:
    """Digest of everything that decides what is in the image, except Debian's packages."""
    digest = hashlib.sha256()
    sources = [directory / "build_image.py", directory / "recipe.json"]
    sources += sorted(path for path in (directory / "files").rglob("*") if path.is_file())
    for path in sources:
        mode = "x" if path.stat().st_mode & stat.S_IXUSR else "-"
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(directory).as_posix()} {mode} {content}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def build(output: Path, mirror: str | None = None) -> None:
    """Build the image from the recipe into the directory `output`."""
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise BuildError(f"tools are missing: apt-get install {' '.join(missing)}")
    if importlib.util.find_spec("browsermount") is None:
        raise BuildError("browsermount is missing: run this with the Python of its environment")
    if os.geteuid() != 0:
        raise BuildError("must run as root, since it makes files that belong to other users")

    recipe = json.loads((HERE / "recipe.json").read_text())
    os.environ["SOURCE_DATE_EPOCH"] = str(recipe["epoch"])
    os.environ["LC_ALL"] = "C.UTF-8"
    os.environ["TZ"] = "UTC"
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="default-image-") as name:
        work = Path(name)
        archives = download(recipe, work, mirror)
        packages: list[dict[str, str]] = []
        trees = [work / "parts" / part["name"] for part in recipe["parts"]]
        for tree, part in zip(trees, recipe["parts"], strict=True):
            packages += fill(tree, part, recipe["drop"], archives)
        # In one layer: each would cost the page two requests before the shell can start.
        whole = work / "whole"
        whole.mkdir()
        for tree in trees:
            run(["cp", "--archive", f"{tree}/.", str(whole)])
        list_libraries(whole, work / "libraries")
        for place, attributes in recipe["directories"].items():
            (whole / place).mkdir(parents=True, exist_ok=True)
            set_attributes(whole / place, attributes)
        archive = pack(whole, work / "whole.tar", recipe["epoch"])
        layout = assemble(recipe, archive, work)
        publish(layout, output)
    record(recipe, packages, output)


def download(recipe: Mapping[str, Any], work: Path, mirror: str | None) -> dict[str, Path]:
    """Let mmdebstrap fetch the packages; return the archive of each."""
    names = sorted(name for part in recipe["parts"] for name in part["packages"])
    archives = work / "archives"
    archives.mkdir()
    root = work / "extracted"
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=extract"]
    command += [f"--architectures={recipe['debian-architecture']}", f"--include={','.join(names)}"]
    command += [f"--extract-hook=copy-out /var/cache/apt/archives {archives}"]
    command += [recipe["suite"], str(root)]
    mirror = mirror or apt_mirror(recipe["suite"])
    run([*command, mirror] if mirror else command)
    shutil.rmtree(root)

    found: dict[str, Path] = {}
    for path in (archives / "archives").glob("*.deb"):
        found[path.name.partition("_")[0]] = path
    if absent := [name for name in names if name not in found]:
        raise BuildError(f"mmdebstrap did not fetch {', '.join(absent)}")
    return found


def apt_mirror(suite: str) -> str | None:
    """The mirror from which this machine's apt gets the suite, None for the default one."""
    lines = run(
        ["apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)"]
    ).splitlines()
    mirrors = [line.split()[2] for line in lines if line.startswith(f"{suite} main ")]
    return mirrors[0] if mirrors else None


def fill(
    tree: Path, part: Mapping[str, Any], drop: Sequence[str], archives: Mapping[str, Path]
) -> list[dict[str, str]]:
    """Make the file tree of one part; return what is known about its packages."""
    tree.mkdir(parents=True)
    packages = []
    for name, selection in sorted(part["packages"].items()):
        packages.append(describe(archives[name], part["name"]))
        with tempfile.TemporaryDirectory(dir=tree.parent) as staging:
            run(["dpkg-deb", "--extract", str(archives[name]), staging])
            # A directory, or a symlink to that of another package from the same source.
            documentation = f"usr/share/doc/{name}"
            licence = (documentation, f"{documentation}/copyright")
            for path in walk(Path(staging)):
                place = merged(path.relative_to(staging).as_posix())
                kept = wanted(place, selection, drop) or place in licence
                if kept and (path.is_symlink() or not path.is_dir()):
                    (tree / place).parent.mkdir(parents=True, exist_ok=True)
                    path.rename(tree / place)
            if not any(os.path.lexists(tree / place) for place in licence):
                raise BuildError(f"{name} has no {documentation}/copyright")

    for path in walk(HERE / "files" / part["name"]):
        if path.is_file():
            copy = tree / path.relative_to(HERE / "files" / part["name"])
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            copy.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
    for place, attributes in part.get("empty-files", {}).items():
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        (tree / place).touch()
        set_attributes(tree / place, attributes)
    for place, target in part.get("symlinks", {}).items():
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        (tree / place).symlink_to(target)
    if "applets" in part:
        link_applets(tree, part["applets"])
    return packages


def describe(archive: Path, part: str) -> dict[str, str]:
    """Name and version of a package and of its source, which its licence may ask for."""
    # dpkg fills in what the control file leaves out because it is the same.
    line = run(
        [
            "dpkg-deb",
            "--show",
            "--showformat=${Package} ${Version} ${source:Package} ${source:Version}",
            str(archive),
        ]
    )
    name, version, source, source_version = line.split()
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    return {
        "name": name,
        "version": version,
        "source": source,
        "source-version": source_version,
        "sha256": digest,
        "part": part,
    }


def walk(tree: Path) -> Iterator[Path]:
    """Every path below a directory, in a stable order."""
    return iter(sorted(tree.rglob("*")))


def merged(place: str) -> str:
    """Where a package's file is in a system whose /bin, /sbin and /lib are in /usr."""
    return f"usr/{place}" if place.startswith(MERGED) else place


def wanted(place: str, selection: Mapping[str, Sequence[str]], drop: Sequence[str]) -> bool:
    """Whether a file goes into the image. A * in a pattern matches slashes too."""

    def matches(patterns: Sequence[str]) -> bool:
        return any(fnmatch.fnmatchcase(place, pattern) for pattern in patterns)

    if matches(drop) or matches(selection.get("drop", ())):
        return False
    return "keep" not in selection or matches(selection["keep"])


def set_attributes(path: Path, attributes: str) -> None:
    """Apply attributes such as "1777 0:0"."""
    mode, _, owner = attributes.partition(" ")
    user, _, group = owner.partition(":")
    os.chown(path, int(user), int(group))
    path.chmod(int(mode, 8))


def link_applets(tree: Path, program: str) -> None:
    """Make a symlink for each of busybox's applets that no real program stands in for."""
    for line in run(["chroot", str(tree), f"/{program}", "--list-full"]).splitlines():
        link = tree / merged(line)
        if "/" in line and not link.exists() and not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(tree / program, link.parent))


def list_libraries(tree: Path, work: Path) -> None:
    """Put ld.so.cache into the tree: without it, every start of a program searches."""
    for path in walk(tree / "usr" / "lib"):
        if ".so" in path.name:
            copy = work / path.relative_to(tree)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy, follow_symlinks=False)
    directories = sorted({path.parent for path in walk(work) if not path.is_dir()})
    (work / "etc").mkdir()
    (work / "etc" / "ld.so.conf").write_text(
        "".join(f"/{directory.relative_to(work)}\n" for directory in directories)
    )
    # Any Linux' ldconfig knows the libraries of all kinds of x86.
    run(["ldconfig", "-r", str(work), "-X"])
    target = tree / "etc" / "ld.so.cache"
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(work / "etc" / "ld.so.cache", target)


def pack(tree: Path, archive: Path, epoch: int) -> Path:
    """Pack a tree such that the same files always give the same bytes."""
    for path in [tree, *walk(tree)]:
        if path.is_symlink() or path.is_dir():
            os.utime(path, (epoch, epoch), follow_symlinks=False)
    command = ["tar", "--create", f"--file={archive}", f"--directory={tree}"]
    command += ["--format=posix", "--pax-option=delete=atime,delete=ctime,exthdr.name=%d/%f.pax"]
    command += ["--sort=name", f"--mtime=@{epoch}", "--clamp-mtime", "--numeric-owner", "."]
    run(command)
    return archive


def assemble(recipe: Mapping[str, Any], archive: Path, work: Path) -> Path:
    """Make an image of one layer."""
    created = datetime.fromtimestamp(recipe["epoch"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    config = recipe["config"]
    image = f"{work}/image:{recipe['reference']}"
    run(["umoci", "init", "--layout", f"{work}/image"])
    run(["umoci", "new", "--image", image])
    command = ["umoci", "raw", "add-layer", "--image", image]
    comment = "; ".join(part["comment"] for part in recipe["parts"])
    command += [f"--history.created={created}", f"--history.comment={comment}"]
    command += ["--history.created_by=tools/default_image/build_image.py"]
    run([*command, str(archive)])
    command = ["umoci", "config", "--image", image, "--no-history", f"--created={created}"]
    command += [f"--architecture={config['architecture']}", "--os=linux"]
    command += [f"--config.cmd={argument}" for argument in config["cmd"]]
    command += [f"--config.env={variable}" for variable in config["env"]]
    command += [f"--config.workingdir={config['workingdir']}"]
    command += [f"--config.label={key}={value}" for key, value in config["labels"].items()]
    run(command)

    packed = work / "packed"
    command = [sys.executable, "-m", "browsermount", "convert", "--quiet", "--no-cache"]
    command += ["--compression=estargz", "--level=9", f"--name={recipe['reference']}"]
    command += [f"--prefetch={path}" for path in recipe["prefetch"]]
    run([*command, f"{work}/image", str(packed)])
    return packed


def publish(layout: Path, output: Path) -> None:
    """Put the new image where the old one was."""
    if output.exists():
        shutil.rmtree(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(layout, output, copy_function=shutil.copyfile)


def record(recipe: Mapping[str, Any], packages: Sequence[Mapping[str, str]], output: Path) -> None:
    """Write down which recipe, packages and tools made which image."""
    index = json.loads((output / "index.json").read_text())
    tools = {
        tool: run(["dpkg-query", "--show", "--showformat=${Version}", package])
        for tool, package in sorted(TOOLS.items())
    }
    image = {
        "recipe": recipe_digest(),
        "manifest": index["manifests"][0]["digest"],
        "suite": recipe["suite"],
        "tools": tools,
        "packages": packages,
    }
    (HERE / "image.json").write_text(json.dumps(image, indent=2) + "\n")


def run(command: Sequence[str]) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)}\n{done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
