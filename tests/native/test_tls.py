"""Real clients of the page's HTTPS: the gateway, the TLS engine, and programs of this machine."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import ssl
import subprocess
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from browsermount.network.tls import Engine, TlsError
from browsermount.proxies import parse_proxies
from browsermount.rootfs.trust import SUBJECT_HASH
from tests.core.test_web_gateway import Answer
from tests.native.gateway import Server
from tests.tls_engine import WasmtimeModule, new_engine

DATA = random.Random(5).randbytes(3_000_000)
CHACHA = "TLS_CHACHA20_POLY1305_SHA256"


def run(server: Server, act: Callable[[int], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with server.listening() as port:
            await asyncio.wait_for(act(port), 60)

    asyncio.run(whole())


async def program(*command: str, stdin: bytes = b"") -> tuple[int, str]:
    """Run a program, and return its exit code and all that it writes."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate(stdin)
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")


GET = b"GET /x HTTP/1.1\r\nHost: server.example\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("options", "cipher"),
    [
        ("-tls1_3", CHACHA),
        ("-tls1_2", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        ("-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256",
         "TLS_AES_128_GCM_SHA256"),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("-tls1_3 -groups P-256", CHACHA),
        ("-tls1_2 -groups P-256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        # It has no share for a group that we know at first, and is asked again.
        ("-tls1_3 -groups P-384:X25519", CHACHA),
    ],
)  # fmt: skip
def test_openssl(tmp_path: Path, options: str, cipher: str) -> None:
    server = Server()

    async def act(port: int) -> None:
        code, text = await program(
            *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-ign_eof"),
            *("-servername", "server.example", "-verify_hostname", "server.example"),
            *("-CAfile", str(server.trust(tmp_path)), "-verify_return_error", "-x509_strict"),
            *("-alpn", "h2,http/1.1", *options.split()),
            stdin=GET,
        )
        assert code == 0, text
        assert "Verify return code: 0 (ok)" in text
        assert f"Cipher is {cipher}" in text
        assert "ALPN protocol: http/1.1" in text
        assert "HTTP/1.1 200 OK" in text
        assert "hello" in text

    run(server, act)
    assert server.asked == [("GET", "https://server.example/x", {}, b"")]
    assert server.told == []


@pytest.mark.parametrize("options", ["-tls1_1 -cipher ALL:@SECLEVEL=0", "-alpn h2"])
def test_what_has_nothing_in_common(tmp_path: Path, options: str) -> None:
    server = Server()

    async def act(port: int) -> None:
        command = ("openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options.split())
        code, text = await program(*command)
        assert code != 0
        assert "alert" in text

    run(server, act)
    assert ["cannot reach 93.184.215.14 by HTTPS: it " in told for told in server.told] == [True]


def test_a_client_that_does_not_trust_it() -> None:
    server = Server()

    async def act(port: int) -> None:
        code, text = await program("curl", "-sS", f"https://127.0.0.1:{port}/")
        assert code == 60, text

    run(server, act)
    assert server.told == [
        "a program in the container cannot reach 93.184.215.14 by HTTPS: it does not trust the "
        "certificate"
    ]


async def curl(server: Server, port: int, folder: Path, *options: str, stdin: bytes = b"") -> str:
    code, text = await program(
        *("curl", "-sS", "--cacert", str(server.trust(folder))),
        *("--connect-to", f"::127.0.0.1:{port}", *options),
        stdin=stdin,
    )
    assert code == 0, text
    return text


def test_downloads_uploads_and_several_requests(tmp_path: Path) -> None:
    def answer(url: str) -> Answer:
        return Answer(parts=(DATA[:1000], DATA[1000:])) if url.endswith("/data") else Answer()

    server = Server(answer)
    (tmp_path / "data").write_bytes(DATA)

    async def act(port: int) -> None:
        base = "https://files.example"
        got = ("-o", str(tmp_path / "a"), "-o", str(tmp_path / "b"))
        await curl(server, port, tmp_path, *got, f"{base}/data", f"{base}/data")
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == DATA
        upload = ("--data-binary", f"@{tmp_path / 'data'}")
        await curl(server, port, tmp_path, *upload, f"{base}/up")
        assert (await curl(server, port, tmp_path, "-I", f"{base}/")).startswith("HTTP/1.1 200")

    run(server, act)
    assert len(server.connections) == 3
    assert [(method, url) for method, url, _, _ in server.asked] == [
        ("GET", "https://files.example/data"),
        ("GET", "https://files.example/data"),
        ("POST", "https://files.example/up"),
        ("HEAD", "https://files.example/"),
    ]
    assert hashlib.sha256(server.asked[2][3]).digest() == hashlib.sha256(DATA).digest()
    assert server.told == []


NODE = """
const [port] = process.argv.slice(1);
const headers = { host: "n.example" };
const options = { host: "127.0.0.1", port, servername: "n.example", headers };
require("https").get(options, async (answer) => {
  for await (const part of answer) process.stdout.write(part);
});
"""


def test_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()

    async def act(port: int) -> None:
        monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(server.trust(tmp_path)))
        assert await program("node", "-e", NODE, str(port)) == (0, "hello")

    run(server, act)
    assert [url for _, url, _, _ in server.asked] == ["https://n.example/"]


def test_gnutls(tmp_path: Path) -> None:
    """By Debian's wget, through a name of this machine's."""
    server = Server(private=True, seen_port=443)

    async def act(port: int) -> None:
        command = ("wget", "-q", "-O-", "--ca-certificate", str(server.trust(tmp_path)))
        host = ("--header", "Host: files.example", f"https://localhost:{port}/x")
        assert await program(*command, *host) == (0, "hello")

    run(server, act)
    assert [url for _, url, _, _ in server.asked] == ["https://files.example/x"]


def test_an_address_in_the_place_of_a_name(tmp_path: Path) -> None:
    server = Server()

    async def act(port: int) -> None:
        await curl(server, port, tmp_path, "https://93.184.215.14/")

    run(server, act)
    assert [url for _, url, _, _ in server.asked] == ["https://93.184.215.14/"]


def test_another_port_than_the_usual_one(tmp_path: Path) -> None:
    server = Server(seen_port=8443)

    async def act(port: int) -> None:
        await curl(server, port, tmp_path, "https://server.example:8443/")

    run(server, act)
    assert [url for _, url, _, _ in server.asked] == ["https://server.example:8443/"]


def test_a_request_that_ends_with_the_half_of_the_connection(tmp_path: Path) -> None:
    """Python's ssl on a socket: the client says that it ends, and gets the answer all the same."""
    server = Server(lambda url: Answer(parts=(DATA,)))

    async def act(port: int) -> None:
        context = ssl.create_default_context(cafile=str(server.trust(tmp_path)))

        def talk() -> bytes:
            # OpenSSL does not read after its own close_notify: it is written without waiting.
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = context.wrap_bio(incoming, outgoing, server_hostname="server.example")
            import socket

            got = b""
            with socket.create_connection(("127.0.0.1", port)) as link:
                while True:
                    try:
                        client.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        link.sendall(outgoing.read())
                        incoming.write(link.recv(1 << 16))
                client.write(GET)
                link.sendall(outgoing.read())
                link.shutdown(socket.SHUT_WR)
                while data := link.recv(1 << 16):
                    incoming.write(data)
                incoming.write_eof()
                # A missing close_notify would be an error here.
                while data := client.read(1 << 16):
                    got += data
            return got

        got = await asyncio.to_thread(talk)
        assert got.startswith(b"HTTP/1.1 200 OK")
        assert got.count(DATA[-1000:]) == 1

    run(server, act)


def test_a_client_that_does_not_read_holds_the_answer_up(tmp_path: Path) -> None:
    given = 0

    class Endless(Answer):
        async def chunks(self) -> AsyncIterator[bytes]:
            nonlocal given
            for _ in range(1000):
                given += 1
                yield bytes(100_000)

    server = Server(lambda url: Endless())

    async def act(port: int) -> None:
        context = ssl.create_default_context(cafile=str(server.trust(tmp_path)))
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname="server.example", limit=1 << 16
        )
        writer.write(GET)
        await reader.read(100)
        before = -1
        while given != before:
            before = given
            await asyncio.sleep(0.3)
        assert given < 200
        writer.transport.abort()

    run(server, act)


def test_hundreds_of_connections_take_bounded_memory(tmp_path: Path) -> None:
    server = Server()

    async def act(port: int) -> None:
        module = server.engine._module
        assert isinstance(module, WasmtimeModule)
        context = ssl.create_default_context(cafile=str(server.trust(tmp_path)))
        opened = [
            await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname=f"s{number}.example"
            )
            for number in range(150)
        ]
        held = module.memory_size
        assert held < 8 << 20
        for _ in range(2):
            for _, writer in opened:
                writer.write(GET.replace(b"Connection: close\r\n", b""))
            for reader, _ in opened:
                assert (await reader.readuntil(b"0\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert module.memory_size - held < 2 << 20
        for _, writer in opened:
            writer.close()

    run(server, act)
    assert len(server.asked) == 300


def test_websockets_are_refused_at_once(tmp_path: Path) -> None:
    server = Server()

    async def act(port: int) -> None:
        headers = ("-H", "Connection: Upgrade", "-H", "Upgrade: websocket")
        text = await curl(server, port, tmp_path, *headers, "https://live.example/")
        assert "WebSockets" in text

    run(server, act)
    assert [told.count("live.example") + told.count("WebSocket") for told in server.told] == [1]


def test_what_a_proxy_of_a_link_is_told(tmp_path: Path) -> None:
    rules = parse_proxies(
        "a.example=http://127.0.0.1/{url} *.b.example=https://p.example/?u={url} "
        "c.example=https://mirror.example/c/",
        foreign=True,
    )
    server = Server(options={"proxies": rules})

    async def act(port: int) -> None:
        secret = ("-H", "Authorization: Basic eDp5", "-H", "X-Token: 1", "-H", "Range: bytes=0-9")
        text = await curl(server, port, tmp_path, *secret, "https://a.example/")
        assert "not a host of the internet" in text
        text = await curl(server, port, tmp_path, "-d", "password", "https://x.b.example/")
        assert "nothing is sent to x.b.example through p.example" in text
        await curl(server, port, tmp_path, *secret, "https://x.b.example/f?q=1")
        await curl(server, port, tmp_path, *secret, "https://c.example/f?q=1")
        await curl(server, port, tmp_path, *secret, "https://d.example/")

    run(server, act)
    asked = [(url, sorted(headers)) for _, url, headers, _ in server.asked]
    assert asked == [
        ("https://p.example/?u=https%3A%2F%2Fx.b.example%2Ff%3Fq%3D1", ["accept", "range"]),
        ("https://mirror.example/c/f?q=1", ["accept", "range"]),
        ("https://d.example/", ["accept", "authorization", "range", "x-token"]),
    ]


def test_the_name_that_openssl_looks_for() -> None:
    command = ["openssl", "x509", "-inform", "DER", "-noout", "-subject_hash"]
    done = subprocess.run(command, input=new_engine().certificate, capture_output=True, check=True)
    assert done.stdout.strip() == SUBJECT_HASH


@pytest.mark.parametrize(
    ("now", "first", "last"),
    [
        (1_709_424_000, "2024-03-01T00:00:00", "2034-03-01T00:00:00"),
        (1_767_225_599, "2025-12-29T23:59:59", "2035-12-29T23:59:59"),
        # From 2050 on, the form is another one.
        (2_240_611_199, "2040-12-29T23:59:59", "2050-12-29T23:59:59"),
        (4_107_715_200, "2100-03-01T00:00:00", "2110-03-01T00:00:00"),
    ],
)
def test_how_long_the_authority_is_valid(now: int, first: str, last: str) -> None:
    engine = Engine(WasmtimeModule(), lambda: now)
    certificate = x509.load_der_x509_certificate(engine.certificate)
    assert certificate.not_valid_before_utc.isoformat() == f"{first}+00:00"
    assert certificate.not_valid_after_utc.isoformat() == f"{last}+00:00"


def test_an_authority_that_is_kept() -> None:
    first = new_engine()
    second = new_engine(first.save())
    assert first.certificate == second.certificate
    assert new_engine().certificate != first.certificate
    for damaged in (b"x", bytes(500), b"\xff" * 500):
        with pytest.raises(ValueError, match="no certificate authority"):
            new_engine(damaged)


@pytest.mark.parametrize("host", ["", "a b", "x" * 254, "ü.example"])
def test_hosts_without_a_certificate(host: str) -> None:
    with pytest.raises(TlsError, match="no certificate"):
        new_engine().open(host)


@pytest.fixture(scope="module")
def hello() -> bytes:
    """What a client begins with."""
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(
        ssl.MemoryBIO(), outgoing, server_hostname="server.example"
    )
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@pytest.fixture(scope="module")
def engine() -> Engine:
    return new_engine()


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_hostile_beginnings(engine: Engine, hello: bytes, data: st.DataObject) -> None:
    changed = bytearray(hello)
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    tail = data.draw(st.binary(max_size=40))
    session = engine.open("server.example")
    got = b""
    for part in (bytes(changed), tail, tail):
        got += session.receive(part)
        while session.encrypted():
            pass
    assert got == b""
    assert not session.established
    assert not session.failed or session.error.args[0]
    session.close()


def handshake(engine: Engine, context: ssl.SSLContext) -> str:
    """Let a client open a connection with the engine alone.

    Returns:
        The version and the cipher that both have agreed on, or why they have not.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="server.example")
    session = engine.open("server.example")
    try:
        for _ in range(10):
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                # An alert, not the mere end of the connection.
                assert session.failed
                return str(error.reason)
            else:
                cipher = client.cipher()
                assert cipher is not None
                return f"{client.version()} {cipher[0]}"
            session.receive(outgoing.read())
            while data := session.encrypted():
                incoming.write(data)
    finally:
        session.close()
    raise AssertionError("the handshake does not come to its end")


def old_client(version: ssl.TLSVersion, ciphers: str) -> ssl.SSLContext:
    """Return a client that takes what it is not let any more by default."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    return context


REFUSED = "SSLV3_ALERT_HANDSHAKE_FAILURE"


def test_each_cipher_of_tls_1_2(engine: Engine) -> None:
    """Two are agreed to; all others, with CBC, RSA's key exchange or no secret at all, are not."""
    context = old_client(ssl.TLSVersion.TLSv1_2, "ALL:COMPLEMENTOFALL")
    # Those with a secret or a password of both cannot be asked for without one.
    names = [
        it["name"] for it in context.get_ciphers() if not re.search("TLS_|PSK|SRP", it["name"])
    ]
    assert len(names) > 50
    found = {name: handshake(engine, old_client(ssl.TLSVersion.TLSv1_2, name)) for name in names}
    agreed = {name for name, end in found.items() if end == f"TLSv1.2 {name}"}
    assert agreed == {"ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-GCM-SHA256"}
    assert {end for name, end in found.items() if name not in agreed} == {REFUSED}
    # Whatever order the client has, ours counts.
    assert handshake(engine, context) == "TLSv1.2 ECDHE-ECDSA-CHACHA20-POLY1305"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_versions_that_are_too_old(engine: Engine, version: ssl.TLSVersion) -> None:
    assert handshake(engine, old_client(version, "ALL")) == REFUSED


ALERT = b"\x15\x03"

HELLO_3_0 = bytes.fromhex("160300002f0100002b0300") + bytes(32) + b"\0\0\4\0\x05\0\x0a\1\0"


@pytest.mark.parametrize(
    "hello",
    [
        HELLO_3_0,  # of SSL 3 (RFC 6101)
        b"\x80\x2e\1\3\1\0\x15\0\0\0\x10" + bytes(37),  # in SSL 2's form (RFC 5246, appendix E)
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x18\3\3\0\3\1\x40\0",  # a heartbeat that asks for more than it has
        b"\x17\3\3\0\1\0",  # data before there are keys
    ],
)
def test_other_beginnings_are_answered_by_an_alert(engine: Engine, hello: bytes) -> None:
    session = engine.open("server.example")
    assert session.receive(hello) == b""
    answer = session.encrypted()
    assert (session.failed, session.established) == (True, False)
    assert answer[:2] == ALERT
    assert len(answer) == 7
    assert session.error.args[0]
    session.close()
