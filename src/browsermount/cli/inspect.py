"""``browsermount inspect``: what an image is made of."""

from __future__ import annotations

import json
from typing import Any

import click

from browsermount.cli.images import Opening, image_argument, opened, opening_options, run_async
from browsermount.cli.printable import printable
from browsermount.cli.sizes import human_size
from browsermount.errors import BrowsermountError
from browsermount.fetch import read_all
from browsermount.layers.lazy import open_index
from browsermount.oci.choice import Candidate, available, resolve
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.image import ResolvedImage, Source
from browsermount.oci.platform import can_run

_PARTIAL_CONTENT = 206


@click.command("inspect")
@image_argument
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object, for programs.")
@opening_options
def command(opening: Opening, image: str, as_json: bool) -> None:
    """Show an image's manifest, platforms, layers and config.

    Only the documents are read, and the tables of contents of layers that can be read lazily.
    """
    description = run_async(_describe(opening, image))
    click.echo(json.dumps(description, indent=2) if as_json else _text(description))


async def _describe(opening: Opening, image: str) -> dict[str, Any]:
    async with opened(image) as (source, _):
        found = await available(source)
        resolved = await resolve(source, str(source), opening.platforms())
        return {
            "reference": resolved.reference,
            "digest": str(resolved.digest),
            "platform": str(resolved.platform),
            "runnable": can_run(resolved.platform),
            "images": [_image(candidate) for candidate in found],
            "layers": [await _layer(source, layer) for layer in resolved.manifest.layers],
            "config": _config(resolved),
        }


def _image(candidate: Candidate) -> dict[str, Any]:
    return {
        "name": candidate.name,
        "platform": str(candidate.platform or "unknown"),
        "digest": str(candidate.descriptor.digest),
    }


async def _layer(source: Source, layer: Descriptor) -> dict[str, Any]:
    async def read(offset: int, size: int) -> bytes:
        headers = {"Range": f"bytes={offset}-{offset + size - 1}"}
        response = await source.get_blob(layer, headers=headers)
        if response.status != _PARTIAL_CONTENT:
            await response.aclose()
            raise _NoRanges
        return await read_all(response, size)

    try:
        index = await open_index(layer, read)
        problem = None
    except _NoRanges:
        index, problem = None, "the server does not answer Range requests"
    except BrowsermountError as error:
        index, problem = None, error.message
    document: dict[str, Any] = {
        "digest": str(layer.digest),
        "size": layer.size,
        "mediaType": layer.media_type,
        "kind": _kind(layer) if index is None else index.kind.name.lower().replace("_", ":"),
        "lazy": index is not None,
        "annotations": layer.annotations,
    }
    if problem:
        document["problem"] = problem
    return document


class _NoRanges(Exception):
    """The server sends blobs only as a whole."""


def _kind(layer: Descriptor) -> str:
    """Return how a layer without a table of contents is packed."""
    for suffix in ("gzip", "zstd", "tar"):
        if layer.media_type.endswith(suffix):
            return suffix
    return "unknown"


def _config(image: ResolvedImage) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(image.config.raw)
    return document


def _text(description: dict[str, Any]) -> str:
    config = description["config"]
    process = config.get("config") or {}
    lines = [
        ("Reference", description["reference"]),
        ("Digest", description["digest"]),
        ("Platform", _platform(description)),
        ("Created", config.get("created")),
        ("Entrypoint", _arguments(process.get("Entrypoint"))),
        ("Cmd", _arguments(process.get("Cmd"))),
        ("User", process.get("User")),
        ("Workdir", process.get("WorkingDir")),
        ("Stop signal", process.get("StopSignal")),
    ]
    lines += [("Env", value) for value in process.get("Env") or ()]
    lines += [("Label", f"{k}={v}") for k, v in sorted((process.get("Labels") or {}).items())]
    text = [f"{name + ':':<12} {value}" for name, value in lines if value]
    text += ["", "Images:"]
    for image in description["images"]:
        name = f"  {image['name']}" if image["name"] else ""
        text.append(f"  {image['platform']:<16} {image['digest']}{name}")
    layers = description["layers"]
    text += ["", f"Layers, {human_size(sum(layer['size'] for layer in layers))} in all:"]
    for layer in layers:
        kind = f"{layer['kind']}, lazy" if layer["lazy"] else layer["kind"]
        if "problem" in layer:
            kind += f" ({layer['problem']})"
        text.append(f"  {layer['digest']} {human_size(layer['size']):>10}  {kind}")
    return "\n".join(map(printable, text))


def _platform(description: dict[str, Any]) -> str:
    platform: str = description["platform"]
    return platform if description["runnable"] else f"{platform} (cannot be run)"


def _arguments(arguments: Any) -> str:
    return json.dumps(arguments, ensure_ascii=False) if arguments else ""
