"""What only exists in Pyodide: the browser's fetch, the arena in JS buffers, the 9P glue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.servers import served

_FETCH = """
from browsermount.errors import BrowsermountError
from browsermount.fetch import read_all
from browsermount.pyodide.fetch import BrowserFetcher

async def attempt(url, limit=1 << 20):
    try:
        response = await BrowserFetcher().get(url)
        return [response.status, len(await read_all(response, limit))]
    except BrowsermountError as error:
        return [error.code, error.message + " | " + error.hint]
"""


def fetch(pyodide: Any, url: str) -> list[Any]:
    return list(pyodide.run_async(f"{_FETCH}\n(await attempt({url!r}))"))


def test_fetch(pyodide: Any, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(100_000))
    with served(tmp_path) as url:
        assert fetch(pyodide, f"{url}data") == [200, 100_000]
        assert fetch(pyodide, f"{url}no")[0] == 404


def test_a_server_that_is_not_there(pyodide: Any, tmp_path: Path) -> None:
    with served(tmp_path) as url:
        pass
    code, text = fetch(pyodide, url)
    assert code == "network"
    assert url in text


def test_cors_refused(pyodide: Any, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"x")
    with served(tmp_path, cors=False) as url:
        result = fetch(pyodide, f"{url}data")
    if pyodide.browser == "node":
        assert result == [200, 1]  # Node has no origins: nothing is refused there
    else:
        assert result[0] == "cors"
        assert "Access-Control-Allow-Origin" in result[1]


def test_buffers(pyodide: Any) -> None:
    result = pyodide.run(
        """
        from browsermount.blobs.files import MemoryFile
        from browsermount.pyodide.buffers import JsBuffer
        whole = b"0123" * 10
        buffer = JsBuffer(whole)
        file = MemoryFile(JsBuffer)
        file.write(20, whole[20:])
        file.write(0, whole[:25])
        all(
            buffer.read(start, size) == file.read(start, size) == whole[start : start + size]
            for start in range(45) for size in range(45)
        ) and buffer.size == len(whole)
        """
    )
    assert result is True


def test_an_image_through_the_worker_glue(pyodide: Any) -> None:
    default = Path(__file__).resolve().parents[2] / "web" / "images" / "default"
    with served(default) as url:
        result = pyodide.run_async(
            f"""
            import json
            from browsermount.ninep import wire
            from browsermount.pyodide.worker import Worker

            worker = Worker(lambda reply: None, 1 << 19)
            events = []
            request = {{
                "image": {url!r},
                "base": "http://localhost/",
                "mirror": "",
                "platform": "",
                "allowUnverified": False,
                "interpreters": "http://localhost/nowhere/",
            }}
            mounted = json.loads(await worker.mount(json.dumps(request), events.append, None))

            def ask(message):
                frame = message.encode(1)
                worker.buffer[: len(frame)] = frame
                length = worker.handle(len(frame))
                return wire.decode(bytes(worker.buffer[:length]))[1]

            ask(wire.Tversion(1 << 19, b"9P2000.L"))
            ask(wire.Tattach(0, wire.NOFID, b"", b"", 0))
            ask(wire.Twalk(0, 1, (b"rootfs", b"etc", b"passwd")))
            ask(wire.Tlopen(1, 0))
            [mounted["image"]["platform"], ask(wire.Tread(1, 0, 4)).data.decode(), len(events) > 3]
            """
        )
    assert list(result) == ["linux/386", "root", True]
