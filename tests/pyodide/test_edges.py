"""What only exists in Pyodide: the browser's fetch, the arena in JS buffers, the 9P glue."""

from __future__ import annotations

import ssl
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest

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


_TLS = """
from base64 import b64decode, b64encode
from browsermount.pyodide.tls import new_engine

engine = new_engine(module)
session = engine.open("server.example")

def talk(encrypted, plain=""):
    heard = b""
    if encrypted:
        heard = session.receive(b64decode(encrypted))
    if plain:
        session.send(b64decode(plain))
    out = b""
    while data := session.encrypted():
        out += data
    return [b64encode(out).decode(), b64encode(heard).decode()]
"""


def test_tls(pyodide: Any) -> None:
    web = Path(__file__).resolve().parents[2] / "web"
    source = b64encode((web / "mount" / "tls.js").read_bytes()).decode()
    code = b64encode((web / "tls" / "tls.wasm").read_bytes()).decode()
    pyodide.run_js(
        f"""
        const {{ instantiate }} = await import("data:text/javascript;base64,{source}");
        pyodide.globals.set("instantiate", instantiate);
        """
    )
    pyodide.run_async(
        f"""
        from base64 import b64decode
        from pyodide.ffi import to_js
        module = await instantiate(to_js(b64decode({code!r})))
        """
    )
    pyodide.run(_TLS)
    authority = b64decode(pyodide.run("b64encode(engine.certificate).decode()"))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cadata=authority)
    client = context.wrap_bio(incoming, outgoing, server_hostname="server.example")

    def talk(plain: bytes = b"") -> bytes:
        parts = [b64encode(part).decode() for part in (outgoing.read(), plain)]
        answer, heard = pyodide.run(f"talk(*{parts!r})")
        incoming.write(b64decode(answer))
        return b64decode(heard)

    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    talk()
    client.do_handshake()
    assert client.cipher() == ("TLS_CHACHA20_POLY1305_SHA256", "TLSv1.3", 256)
    upload = bytes(range(256)) * 200
    client.write(upload)
    assert talk(upload[::-1]) == upload
    got = b""
    while len(got) < len(upload):
        got += client.read(1 << 16)
    assert got == upload[::-1]


def test_an_image_through_the_worker_glue(pyodide: Any) -> None:
    default = Path(__file__).resolve().parents[2] / "web" / "images" / "default"
    with served(default) as url:
        result = pyodide.run_async(
            f"""
            import json
            from browsermount.ninep import wire
            from browsermount.pyodide.worker import Worker

            class Authority:
                certificate = b"a certificate"
                def save(self):
                    return b"a secret"

            given = []
            async def open_tls(authority):
                given.append(authority)
                return Authority()

            worker = Worker(lambda reply: None, 1 << 19, None, None, open_tls)
            events = []
            request = {{
                "image": {url!r},
                "base": "http://localhost/",
                "mirror": "",
                "platform": "",
                "machine": "",
                "allowUnverified": False,
                "interpreters": "http://localhost/nowhere/",
                "network": "public",
                "relay": "",
                "proxies": {{"rules": "", "foreign": False}},
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
            text = ask(wire.Tread(1, 0, 4)).data.decode()

            # What runs in a saved session trusts the authority that it has known.
            await worker.tls()
            saved = json.dumps(json.loads(worker.save())["server"])
            unusable = worker.restore(saved)
            await worker.tls()
            again = json.dumps(json.loads(worker.save())["server"])

            # One that goes on at its prompt was started as it would be now.
            assert worker.identify()
            process = json.loads(worker.save())["process"]
            started = worker.restore(saved, json.dumps(process))
            otherwise = worker.restore(saved, json.dumps({{**process, "hostname": "other"}}))
            [
                mounted["image"]["platform"], text, len(events) > 3,
                unusable, given, again == saved, started, otherwise,
            ]
            """
        )
    platform, text, said, unusable, given, same, started, otherwise = list(result)
    assert (platform, text, said, unusable, same) == ("linux/386", "root", True, "", True)
    assert (started, otherwise) == ("", "its process was started in another way")
    assert list(given) == ["", b64encode(b"a secret").decode()]


_STORAGE = """
import asyncio
from browsermount.blobs.files import NoRoom
from browsermount.blobs.store import Store
from browsermount.pyodide import opfs
from pyodide.code import run_js

opfs.ANSWER_SECONDS = opfs.LOCK_SECONDS = 0.2

async def attempt(directory):
    files = opfs.OpfsFiles(run_js(directory))
    said = []
    for name, call in {
        "open": lambda: files.open("a"),
        "read": lambda: files.read("a"),
        "replace": lambda: files.replace("a", b"data"),
        "remove": lambda: files.remove("a"),
        "names": lambda: files.names(),
    }.items():
        try:
            said.append([name, repr(await asyncio.wait_for(call(), 5))])
        except NoRoom as error:
            said.append([name, "NoRoom"])
    store = Store(files)
    said.append(["save", repr(await asyncio.wait_for(store.save("b", b"x"), 5))])
    blob = await asyncio.wait_for(store.open("c"), 5)
    kept = await blob.reserve(3) and blob.write(0, b"xyz")
    said.append(["write", repr(kept and blob.read(0, 3))])
    return said
"""

_REFUSING = [
    ["open", "NoRoom"],
    ["read", "None"],
    ["replace", "NoRoom"],
    ["remove", "False"],
    ["names", "[]"],
    ["save", "False"],
    ["write", "b'xyz'"],  # in memory, then
]


def attempt(pyodide: Any, directory: str) -> list[list[str]]:
    result = pyodide.run_async(f"{_STORAGE}\n(await attempt({directory!r}))")
    return [list(pair) for pair in result]


# A directory of which each method returns the same, as does the iterator over its names.
_DIRECTORY = """
({
  ...Object.fromEntries(["getFileHandle", "removeEntry"].map((name) => [name, () => RESULT])),
  keys: () => ({ next: () => RESULT }),
})
"""


def test_a_storage_that_never_answers_is_given_up(pyodide: Any) -> None:
    never = _DIRECTORY.replace("RESULT", "new Promise(() => {})")
    assert attempt(pyodide, never) == _REFUSING


def test_a_storage_that_answers_with_errors_only(pyodide: Any) -> None:
    failing = _DIRECTORY.replace("RESULT", 'Promise.reject(new Error("no"))')
    assert attempt(pyodide, failing) == _REFUSING


def test_names_of_files(pyodide: Any) -> None:
    """An async iterator, as the browser's, of which one does not come to an end."""
    code = """
    generator = "({ keys: async function* () { yield 'a'; yield 'b'; END } })"
    names = [
        await asyncio.wait_for(opfs.OpfsFiles(run_js(generator.replace("END", end))).names(), 5)
        for end in ("", "await new Promise(() => {})")
    ]
    names
    """
    result = pyodide.run_async(f"{_STORAGE}\n{code.replace(chr(10) + '    ', chr(10))}")
    assert [list(names) for names in result] == [["a", "b"], []]


def test_a_file_that_cannot_be_written_is_given_up_and_aborted(pyodide: Any) -> None:
    full = """
    globalThis.aborted = 0;
    const writable = {
      write: async () => {},
      close: () => Promise.reject(new Error("full")),
      abort: async () => { globalThis.aborted += 1; },
    };
    ({
      getFileHandle: async () => ({ createWritable: async () => writable }),
      removeEntry: async () => {},
    })
    """
    code = f"""
    files = opfs.OpfsFiles(run_js({full!r}))
    try:
        await files.replace("a", b"data")
    except NoRoom as error:
        said = str(error)
    [said, run_js("globalThis.aborted")]
    """
    said, aborted = pyodide.run_async(f"{_STORAGE}\n{code.replace(chr(10) + '    ', chr(10))}")
    assert "full" in said
    assert aborted == 1
