"""Programs as people have them in images fetch over HTTPS, with certificates checked as ever.

BROWSERMOUNT_LARGE=1 .venv/bin/python -m pytest tests/clients
"""

from __future__ import annotations

import hashlib
import os
import random

import pytest

from tests.clients.container import Asked, Internet, run
from tests.core.test_web_gateway import Answer
from tests.fixtures import fixture

pytestmark = pytest.mark.skipif(
    not os.environ.get("BROWSERMOUNT_LARGE"), reason="takes minutes: BROWSERMOUNT_LARGE=1"
)

DATA = random.Random(7).randbytes(1_500_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
BODY = b"x" * 300_000

# By each of the places where programs look for authorities, and with none.
WITHOUT_VARIABLES = (
    "env -u SSL_CERT_FILE -u CURL_CA_BUNDLE -u GIT_SSL_CAINFO -u REQUESTS_CA_BUNDLE "
    "-u NODE_EXTRA_CA_CERTS"
)
URL = "https://files.example/data"
COMMANDS = (
    f"curl -sSf {URL}",
    f"curl -sSf --tls-max 1.2 {URL}",
    f"wget -qO- {URL}",
    f"busybox wget -qO- {URL}",
    "python3 -c 'import sys, urllib.request as r; "
    f'sys.stdout.buffer.write(r.urlopen("{URL}").read())\'',
)


def files(asked: Asked) -> Answer:
    """A server of one file, which says what was sent to it, too."""
    if asked.method in {"POST", "PUT"}:
        return Answer(parts=(hashlib.sha256(asked.body).hexdigest().encode(),))
    if asked.path != "/data":
        return Answer(404)
    if "range" in asked.headers:
        first = int(asked.headers["range"].removeprefix("bytes=").split("-")[0])
        about = [("content-range", f"bytes {first}-{len(DATA) - 1}/{len(DATA)}")]
        return Answer(206, about, (DATA[first:],))
    return Answer(headers=[("content-length", str(len(DATA)))], parts=(DATA,))


def outputs(script: str, capfd: pytest.CaptureFixture[str], name: str = "clients") -> str:
    """Run a script in a container of an image, to a good end; return what it has written."""
    internet = Internet({"files.example": files})
    code = run(fixture(name) / "image", f"set -e; cd /tmp; {script}", internet)
    written = capfd.readouterr()
    assert code == 0, written.out + written.err + "".join(internet.told)
    return written.out


def test_debian(capfd: pytest.CaptureFixture[str]) -> None:
    gets = "".join(f"{command} | sha256sum\n" for command in COMMANDS)
    output = outputs(f"{gets} cat > gets <<'END'\n{gets}END\n{WITHOUT_VARIABLES} sh gets", capfd)
    assert output.count(DIGEST) == 2 * len(COMMANDS)


def test_debians_node(capfd: pytest.CaptureFixture[str]) -> None:
    """Its authorities are its own; only the variable says that there is one more."""
    code = (
        f'fetch("{URL}").then((it) => it.arrayBuffer()).then((it) => console.log('
        'require("crypto").createHash("sha256").update(Buffer.from(it)).digest("hex")))'
    )
    assert DIGEST in outputs(f"node -e '{code}'", capfd)


def test_parts_heads_and_uploads(capfd: pytest.CaptureFixture[str]) -> None:
    output = outputs(
        f"""
curl -sSf {URL} | head -c 1000000 > data
curl -sSf -C - -o data {URL}; sha256sum data
curl -sSfI {URL} | tr -d '\\r' | grep -i '^content-length'
head -c {len(BODY)} /dev/zero | tr '\\0' x > body
curl -sSf --data-binary @body {URL}; echo
curl -sSf -T body {URL}; echo
wget -qO- --post-file=body {URL}; echo
""",
        capfd,
    )
    assert DIGEST in output
    assert f"length: {len(DATA)}" in output.lower()
    assert output.count(hashlib.sha256(BODY).hexdigest()) == 3


def test_who_is_not_there_and_who_is_somebody_else(capfd: pytest.CaptureFixture[str]) -> None:
    output = outputs(
        f"""
curl -sS -o /dev/null -w '%{{http_code}}\\n' https://nobody.example/
curl -sS --connect-to other.example:443:files.example:443 https://other.example/ || echo curl $?
curl -sS --cacert /etc/hostname {URL} || echo curl $?
curl -sSf {URL} | wc -c
""",
        capfd,
    )
    # The authority signs for whatever name is asked for; the name decides who is asked.
    assert output.split()[0] == "502"
    assert "curl 77" in output
    assert str(len(DATA)) in output


def test_alpine(capfd: pytest.CaptureFixture[str]) -> None:
    output = outputs(
        f"""
cat /etc/alpine-release
for get in 'wget -qO-' 'curl -sSf'; do
  $get {URL} | sha256sum
  {WITHOUT_VARIABLES} $get {URL} | sha256sum
done
""",
        capfd,
        "alpine",
    )
    assert output.count(DIGEST) == 4
