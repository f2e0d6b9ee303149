"""The container's network on the command line: what it reaches, and who reaches it."""

from __future__ import annotations

import hashlib
import http.server
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.fixtures import fixture
from tests.servers.program import free_port
from tests.servers.recording import answering
from tests.servers.web import DATA, DIGEST, answer

IMAGE = Path(__file__).resolve().parents[2] / "web" / "images" / "default"
COMMAND = [sys.executable, "-m", "browsermount", "run"]
TIMEOUT = 180
HERE = "host.containers.internal"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a web server of this machine's."""
    with answering(answer) as server:
        yield server.port


def run(*arguments: object, image: Path = IMAGE) -> subprocess.CompletedProcess[bytes]:
    *options, script = map(str, arguments)
    command = [*COMMAND, *options, str(image), "sh", "-c", script]
    return subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)


@contextmanager
def running(*arguments: object, image: Path = IMAGE) -> Iterator[None]:
    """Run a container until the block is left; it has said "up" before."""
    *options, script = map(str, arguments)
    command = [*COMMAND, *options, str(image), "bash", "-c", f"{script}\necho up; cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        try:
            yield
        finally:
            # At the end of its input, the script's end is there, too.
            process.communicate(timeout=TIMEOUT)


def test_down_and_up_by_a_real_kernels_tcp(port: int) -> None:
    done = run(
        "--network",
        "all",
        f"""
url=http://{HERE}:{port}
busybox wget -qO- $url/ && busybox wget -qO /tmp/data $url/data && sha256sum < /tmp/data
busybox wget -qO- --post-file=/tmp/data $url/ || echo failed
for i in 1 2 3 4 5; do busybox wget -qO- $url/data | sha256sum & done; wait
busybox wget -qO- http://{HERE}:1/ || echo refused
busybox ping -c 1 192.168.127.1 > /tmp/ping && echo pong
""",
    )
    digest = DIGEST.encode()
    lines = done.stdout.splitlines()
    assert lines[0] == b"hello", done.stderr
    assert lines[1] == digest + b"  -"
    assert lines[3:8] == [digest + b"  -"] * 5
    assert lines[8:] == [b"refused", b"pong"]
    # busybox's wget sends what is in the file up to its first zero byte.
    end = DATA.index(b"\0")
    assert lines[2] == hashlib.sha256(DATA[:end]).hexdigest().encode()


def test_datagrams_of_the_container() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def echo() -> None:
            for _ in range(2):
                data, client = server.recvfrom(70_000)
                server.sendto(data[::-1], client)

        threading.Thread(target=echo, daemon=True).start()
        done = run(
            *("--network", "all"),
            f"""
cat > /tmp/udp.c <<'END'
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <errno.h>
#define SERVER {server.getsockname()[1]}
static char data[60000];
static int ask(int port, int size) {{
	struct sockaddr_in at = {{.sin_family = AF_INET, .sin_port = htons(port)}};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	inet_aton("192.168.127.254", &at.sin_addr);
	connect(fd, (struct sockaddr *)&at, sizeof at);
	strcpy(data, "gnip");
	send(fd, data, size, 0);
	int got = recv(fd, data, sizeof data, 0);
	if (got < 0) {{ puts(strerror(errno)); return 0; }}
	printf("%d %.4s\\n", got, data + got - 4);
	return 0;
}}
int main(void) {{ ask(SERVER, 4); ask(SERVER, 60000); ask(1, 4); }}
END
tcc -run /tmp/udp.c
""",
        )
    assert done.stdout == b"4 ping\n60000 ping\nConnection refused\n", done


def test_names_and_hosts(port: int) -> None:
    done = run(
        *("--network", "all", "--add-host", "box.example:host-gateway", "--hostname", "me"),
        f"""
busybox wget -qO- http://box.example:{port}/
busybox nslookup no.such.name.invalid 2>&1 | grep -o NXDOMAIN | head -1
grep -w me /etc/hosts; cat /etc/resolv.conf
""",
    )
    assert done.stdout.splitlines() == [
        b"hello",
        b"NXDOMAIN",
        b"192.168.127.3\tme",
        b"nameserver 192.168.127.1",
    ]


def test_by_default_this_machine_cannot_be_reached(port: int) -> None:
    script = f"busybox wget -qO- http://192.168.127.254:{port}/ || echo no"
    own = f"busybox wget -qO- http://10.0.0.1:{port}/ || echo no"
    name = f"busybox nslookup {HERE} | grep -c '^Address.*\\.254$'"
    done = run(f"{script}; {own}; {own}; {name}")
    assert done.stdout == b"no\nno\nno\n0\n"
    assert done.stderr.count(b"may not reach 10.0.0.1") == 1
    assert b"--network all" in done.stderr


def test_without_a_network() -> None:
    script = "ls /sys/class/net; cat /etc/resolv.conf; busybox ping -c 1 127.0.0.1 | grep -c ttl"
    done = run("--network", "none", script)
    assert b"eth0" not in done.stdout
    assert done.stdout.splitlines()[-2:] == [b"# There is no network.", b"1"]


def fetch(url: str, data: bytes | None = None) -> bytes:
    with urllib.request.urlopen(url, data, timeout=30) as answer:
        content: bytes = answer.read()
        return content


def test_ports_that_are_published() -> None:
    everywhere, inside, udp = free_port(), free_port(), free_port(socket.SOCK_DGRAM)
    script = """
mkdir /tmp/w; head -c 2000000 /dev/urandom > /tmp/w/data; sha256sum < /tmp/w/data > /tmp/w/sum
busybox httpd -p 80 -h /tmp/w; busybox httpd -p 127.0.0.1:81 -h /tmp/w
cat > /tmp/echo.c <<'END'
#include <arpa/inet.h>
int main(void) {
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(53)}, from;
	char data[100];
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	bind(fd, (struct sockaddr *)&at, sizeof at);
	for (;;) {
		socklen_t size = sizeof from;
		int got = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&from, &size);
		sendto(fd, data, got, 0, (struct sockaddr *)&from, size);
	}
}
END
tcc -run /tmp/echo.c &
sleep 1
"""
    options = [f"127.0.0.1:{everywhere}:80", f"{inside}:81", f"{udp}:53/udp"]
    with running(*(part for option in options for part in ("-p", option)), script):
        for port in (everywhere, inside):
            data = fetch(f"http://127.0.0.1:{port}/data")
            digest = hashlib.sha256(data).hexdigest().encode()
            assert fetch(f"http://127.0.0.1:{port}/sum") == digest + b"  -\n"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(1)
            client.connect(("127.0.0.1", udp))
            answer = b""
            # What comes before the server is there is lost.
            for _ in range(60):
                client.send(b"ping")
                with suppress(OSError):
                    answer = client.recv(100)
                    break
            assert answer == b"ping"


def test_a_published_port_where_nobody_listens() -> None:
    port = free_port()
    with (
        running("-p", f"{port}:80", "true"),
        pytest.raises((ConnectionError, urllib.error.URLError)),
    ):
        fetch(f"http://127.0.0.1:{port}/")


def test_a_port_that_is_taken(port: int) -> None:
    done = run("-p", f"{port}:80", "true")
    assert done.returncode == 125
    assert f"port 127.0.0.1:{port} cannot be had".encode() in done.stderr
    assert done.stdout == b""


# Gives a datagram back to who has sent it.
ECHO = """
cat > /tmp/echo.c <<'END'
#include <sys/socket.h>
#include <netinet/in.h>
int main(void) {
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(7000)};
	socklen_t size = sizeof at;
	char data[99];
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	bind(fd, (struct sockaddr *)&at, size);
	int got = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&at, &size);
	sendto(fd, data, got, 0, (struct sockaddr *)&at, size);
}
END
tcc -run /tmp/echo.c &
mkdir /tmp/w; head -c 300000 /dev/urandom > /tmp/w/data; sha256sum < /tmp/w/data > /tmp/w/sum
busybox httpd -p 8000 -h /tmp/w
until [[ $(</proc/net/udp) = *:1B58* && $(</proc/net/tcp6) = *:1F40* ]]; do sleep 0.1; done
"""
ASK = """
busybox wget -qO- web.shop:8000/data | sha256sum; busybox wget -qO- web:8000/sum
exec 3<>/dev/udp/web/7000; echo datagram >&3; head -n 1 <&3
busybox wget -qO- web:8001/ || echo refused
busybox wget -qO- http://server.example/ || echo nobody
exec 3<>/dev/tcp/web/8000; echo connected; read -ru 3 || echo gone
busybox wget -qO- web:8000/ || echo nobody
"""


def test_containers_that_are_in_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as directory:
        # The path of a socket has to be short.
        monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
        alone = ("--network", "none", "--network", "shop")
        with running(*alone, "--hostname", "web", ECHO):
            command = [*COMMAND, *alone, str(IMAGE), "bash", "-c", ASK]
            other = subprocess.Popen(command, stdout=subprocess.PIPE)
            assert other.stdout is not None
            found = list(iter(other.stdout.readline, b"connected\n"))
        # The first one has ended.
        rest, _ = other.communicate(timeout=TIMEOUT)
    assert found[0] == found[1]
    assert found[2:] == [b"datagram\n", b"refused\n", b"nobody\n"]
    assert rest == b"gone\nnobody\n"


@pytest.mark.parametrize(
    "options",
    [
        ("-p", "80"),
        ("-p", "80:0"),
        ("-p", "80:65536"),
        ("-p", "80:80/sctp"),
        ("-p", "host:80:80"),
        ("--add-host", "name"),
        ("--add-host", ":1.2.3.4"),
        ("--add-host", "a b:1.2.3.4"),
        ("--network", "none", "-p", "80:80"),
        ("--network", "a", "--network", "b"),
        ("--network", "host"),
        ("--network", "shop", "--hostname", "a.b"),
    ],
)
def test_options_that_make_no_sense(options: tuple[str, ...]) -> None:
    done = run(*options, "true")
    assert done.returncode == 125
    assert options[-1].split(":")[0].encode() in done.stderr or b"-p" in done.stderr


def test_debians_apt_installs_a_package(tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "DEBIAN").mkdir(parents=True)
    control = (
        "Package: proof\nVersion: 1\nArchitecture: all\nMaintainer: x <x@y.z>\nDescription: x\n"
    )
    (package / "DEBIAN" / "control").write_text(control)
    (package / "proof").write_text("installed\n")
    site = tmp_path / "site"
    site.mkdir()
    subprocess.run(["dpkg-deb", "--build", package, site / "proof.deb"], check=True)
    content = (site / "proof.deb").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    (site / "Packages").write_text(
        f"{control}Filename: ./proof.deb\nSize: {len(content)}\nSHA256: {digest}\n"
    )

    def handler(*args: object) -> http.server.SimpleHTTPRequestHandler:
        return http.server.SimpleHTTPRequestHandler(*args, directory=site)  # type: ignore[arg-type]

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:  # type: ignore[arg-type]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = run(
            *("--network", "all"),
            f"""
rm -rf /etc/apt/sources.list*
echo 'deb [trusted=yes] http://{HERE}:{server.server_port} ./' > /etc/apt/sources.list
apt-get update && apt-get install -y proof && cat /proof
""",
            image=fixture("debian") / "layout",
        )
        server.shutdown()
    assert done.stdout.endswith(b"installed\n"), (done.stdout, done.stderr)


def test_an_amd64_image_on_its_own_machine(port: int) -> None:
    image = fixture("foreign") / "amd64"
    inside = free_port()
    script = f"""
get() {{
  exec 3<>/dev/tcp/{HERE}/{port}; printf 'GET /data HTTP/1.0\\r\\n\\r\\n' >&3
  tail -c {len(DATA)} <&3
}}
cat /sys/class/net/eth0/mtu > /tmp/found
get > /tmp/data; sha256sum < /tmp/data >> /tmp/found
said=$( (exec 4<>/dev/tcp/{HERE}/1) 2>&1 ); [[ $said = *refused* ]] && echo refused >> /tmp/found
perl -MIO::Socket::INET -e '
  $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 80, Listen => 5);
  while ($client = $server->accept) {{
    while (<$client>) {{ last if $_ eq "\\r\\n" }}
    open F, "<", "/tmp/found";
    print $client "HTTP/1.0 200 OK\\r\\n\\r\\n", <F>; close $client;
  }}' &
until [[ $(</proc/net/tcp) = *:0050* ]]; do sleep 0.1; done
"""
    with running("--network", "all", "-p", f"{inside}:80", script, image=image):
        found = fetch(f"http://127.0.0.1:{inside}/").decode().splitlines()
    assert found == ["65535", f"{DIGEST}  -", "refused"]
