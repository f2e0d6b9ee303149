"""Reading a blob in ranges from servers of every kind."""

from collections.abc import Sequence

import pytest

from browsermount.blobs.remote import ATTEMPTS, MAX_DELAY, RangesIgnored, RemoteBlob
from browsermount.errors import (
    BrowsermountError,
    EncodedBlob,
    FetchError,
    HttpStatusError,
    ImageNotFound,
    NetworkError,
    SizeMismatch,
)
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from browsermount.oci.layout import LayoutSource
from browsermount.reference import LayoutReference

from .images import BASE, FakeFetcher, FakeResponse, Hook
from .loop import run

DATA = bytes(range(256)) * 40
DESCRIPTOR = Descriptor("", Digest.of(DATA), len(DATA))
PATH = f"blobs/sha256/{DESCRIPTOR.digest.encoded}"


class Blob:
    """A blob on a server with a hook, and what happened."""

    def __init__(self, hook: Hook | None = None, data: bytes = DATA) -> None:
        self.fetcher = FakeFetcher({PATH: data}, hook=hook)
        self.troubles: list[FetchError] = []
        self.delays: list[float] = []
        self.counts: list[int] = []
        self.remote = RemoteBlob(
            LayoutSource(self.fetcher, LayoutReference(BASE)),
            DESCRIPTOR,
            on_trouble=self.troubles.append,
            on_bytes=self.counts.append,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.delays.append(seconds)

    def read(self, offset: int, size: int) -> bytes:
        try:
            return run(self.remote.read(offset, size))
        finally:
            assert all(response.closed for response in self.fetcher.responses)


def answers(*given: FakeResponse | BrowsermountError | None) -> Hook:
    """Give these answers first, None for the right one, and then only right ones."""
    left = list(given)

    def hook(url: str, span: tuple[int, int] | None, body: bytes) -> FakeResponse | None:
        answer = left.pop(0) if left else None
        if isinstance(answer, BrowsermountError):
            raise answer
        return answer

    return hook


def test_a_range() -> None:
    blob = Blob()
    assert blob.read(1000, 3500) == DATA[1000:4500]
    assert blob.fetcher.ranges == [(1000, 4499)]
    assert sum(blob.counts) == 3500
    assert not blob.troubles


def test_the_whole_is_asked_for_without_a_range() -> None:
    blob = Blob()
    assert blob.read(0, len(DATA)) == DATA
    assert blob.fetcher.ranges == [None]


def test_a_broken_connection_is_gone_on_with() -> None:
    blob = Blob(answers(FakeResponse(BASE, 206, DATA[:5000], breaks_after=2500), NetworkError("x")))
    assert blob.read(0, 5000) == DATA[:5000]
    assert blob.fetcher.ranges == [(0, 4999), (2500, 4999), (2500, 4999)]
    assert len(blob.troubles) == 2
    assert 0 < blob.delays[0] < blob.delays[1]
    assert blob.remote.resumed


def test_a_short_answer_is_gone_on_with() -> None:
    blob = Blob(answers(FakeResponse(BASE, 206, DATA[:100], {"content-range": "bytes 0-99/10240"})))
    assert blob.read(0, 5000) == DATA[:5000]
    assert blob.fetcher.ranges[1] == (100, 4999)


def test_more_than_was_asked_for_is_cut() -> None:
    blob = Blob(answers(FakeResponse(BASE, 206, DATA, {"content-range": "bytes 0-10239/10240"})))
    assert blob.read(0, 5000) == DATA[:5000]


def test_without_content_range_the_bytes_are_taken_on_trust() -> None:
    blob = Blob(answers(FakeResponse(BASE, 206, DATA[10:20])))
    assert blob.read(10, 10) == DATA[10:20]


@pytest.mark.parametrize("given", ["bytes 0-9/10240", "bytes 20-10/10240", "items 10-19/20", ""])
def test_a_wrong_content_range_is_not_believed(given: str) -> None:
    wrong = FakeResponse(BASE, 206, DATA[:10], {"content-range": given})
    blob = Blob(answers(wrong))
    assert blob.read(10, 10) == DATA[10:20]
    assert "range" in blob.troubles[0].message
    blob = Blob(answers(*[wrong] * ATTEMPTS))
    with pytest.raises(NetworkError, match="range"):
        blob.read(10, 10)


def test_a_server_that_ignores_ranges() -> None:
    blob = Blob(lambda url, span, body: FakeResponse(url, 200, body))
    with pytest.raises(RangesIgnored):
        blob.read(10, 10)
    assert not blob.remote.ranged
    # From now on no ranges are asked for: what comes before is left out.
    assert blob.read(10, 10) == DATA[10:20]
    assert blob.fetcher.ranges == [(10, 19), None]


def test_a_whole_answer_that_breaks_is_gone_on_with_where_ranges_are_ignored() -> None:
    whole = FakeResponse(BASE, 200, DATA)
    blob = Blob(answers(FakeResponse(BASE, 200, DATA, breaks_after=3000), whole, whole))
    assert blob.read(0, len(DATA)) == DATA
    assert blob.fetcher.ranges == [None, (3000, len(DATA) - 1), None]
    broken = [FakeResponse(BASE, 200, DATA, breaks_after=3000) for _ in range(ATTEMPTS + 2)]
    with pytest.raises(NetworkError):
        Blob(answers(*broken)).read(0, len(DATA))


def multipart(*parts: tuple[int, bytes]) -> FakeResponse:
    body = b""
    for start, data in parts:
        given = f"bytes {start}-{start + len(data) - 1}/{len(DATA)}"
        body += f"\r\n--sep\r\nContent-Type: x/y\r\nContent-Range: {given}\r\n\r\n".encode() + data
    kind = {"content-type": 'multipart/byteranges; boundary="sep"'}
    return FakeResponse(BASE, 206, body + b"\r\n--sep--\r\n", kind)


def test_multipart_answers() -> None:
    assert Blob(answers(multipart((10, DATA[10:20])))).read(10, 10) == DATA[10:20]
    several = multipart((0, b"--sep"), (500, DATA[500:4000]))
    assert Blob(answers(several)).read(500, 3500) == DATA[500:4000]


@pytest.mark.parametrize(
    "broken",
    [
        multipart((0, b"other")),
        FakeResponse(BASE, 206, b"--sep\r\n", {"content-type": "multipart/byteranges"}),
        FakeResponse(
            BASE,
            206,
            b"--sep\r\nContent-Range: bytes 9-0/3\r\n\r\n" * 9,
            {"content-type": "multipart/byteranges; boundary=sep"},
        ),
    ],
)
def test_broken_multipart_answers(broken: FakeResponse) -> None:
    with pytest.raises(NetworkError, match="several parts"):
        Blob(answers(*[broken] * ATTEMPTS)).read(10, 10)


def test_a_blob_that_is_too_short() -> None:
    with pytest.raises(SizeMismatch):
        Blob(data=DATA[:100]).read(200, 10)


def test_a_blob_that_is_too_short_where_ranges_are_ignored() -> None:
    blob = Blob(lambda url, span, body: FakeResponse(url, 200, body), DATA[:100])
    with pytest.raises(SizeMismatch):
        blob.read(0, len(DATA))
    assert len(blob.fetcher.ranges) == 3


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(status: int) -> None:
    blob = Blob(answers(FakeResponse(BASE, status), FakeResponse(BASE, status)))
    assert blob.read(10, 10) == DATA[10:20]
    assert str(status) in blob.troubles[0].message
    blob = Blob(answers(*[FakeResponse(BASE, status)] * ATTEMPTS))
    with pytest.raises(HttpStatusError):
        blob.read(10, 10)
    assert len(blob.delays) == ATTEMPTS - 1


@pytest.mark.parametrize(
    ("header", "delay"),
    [
        ("3", 3.0),
        ("100000", MAX_DELAY),
        ("Fri, 01 Jan 2100 00:00:00 GMT", MAX_DELAY),
        ("Fri, 01 Jan 1999 00:00:00 GMT", 0.0),
    ],
)
def test_the_server_may_say_when_to_come_back(header: str, delay: float) -> None:
    blob = Blob(answers(FakeResponse(BASE, 429, headers={"retry-after": header})))
    assert blob.read(10, 10) == DATA[10:20]
    assert blob.delays == [delay]


def test_nonsense_about_when_to_come_back_is_ignored() -> None:
    blob = Blob(answers(FakeResponse(BASE, 503, headers={"retry-after": "soon"})))
    assert blob.read(10, 10) == DATA[10:20]
    assert 0 < blob.delays[0] < 1


@pytest.mark.parametrize(("status", "kind"), [(404, ImageNotFound), (403, HttpStatusError)])
def test_what_will_not_pass_is_not_tried_again(status: int, kind: type[BrowsermountError]) -> None:
    blob = Blob(answers(FakeResponse(BASE, status)))
    with pytest.raises(kind):
        blob.read(10, 10)
    assert not blob.delays


def parts(blob: Blob) -> Sequence[tuple[int, int] | None]:
    return blob.fetcher.ranges


def test_progress_allows_for_more_attempts() -> None:
    broken = [
        FakeResponse(BASE, 206, DATA[i * 100 : 5000], breaks_after=100) for i in range(3 * ATTEMPTS)
    ]
    blob = Blob(answers(*broken))
    assert blob.read(0, 5000) == DATA[:5000]
    assert len(parts(blob)) == 3 * ATTEMPTS + 1


@pytest.mark.parametrize(
    "fields",
    [
        # What a page sees of its own origin, and what it sees of others.
        {"content-encoding": "gzip"},
        {"content-length": str(len(DATA))},
    ],
)
def test_a_blob_that_the_browser_has_unpacked(fields: dict[str, str]) -> None:
    unpacked = FakeResponse(BASE + PATH, 200, DATA * 3, fields)
    with pytest.raises(EncodedBlob) as raised:
        Blob(answers(unpacked)).read(0, len(DATA))
    assert "Content-Encoding" in raised.value.hint
    assert PATH in raised.value.message


def test_a_blob_that_is_shorter_as_it_comes() -> None:
    packed = FakeResponse(BASE + PATH, 200, DATA[:99], {"content-encoding": "br"})
    again = FakeResponse(BASE + PATH, 206, b"", {"content-encoding": "br"})
    with pytest.raises(EncodedBlob):
        Blob(answers(packed, again)).read(0, len(DATA))


def test_an_encoding_that_changes_nothing() -> None:
    # Whoever does not unpack gets the right bytes of a blob that is gzip and said to be encoded.
    whole = FakeResponse(BASE + PATH, 200, DATA, {"content-encoding": "gzip"})
    assert Blob(answers(whole)).read(0, len(DATA)) == DATA
    longer = FakeResponse(BASE + PATH, 200, DATA * 2, {"content-length": str(2 * len(DATA))})
    with pytest.raises(SizeMismatch):
        Blob(answers(longer)).read(0, len(DATA))


def test_a_connection_that_breaks_without_a_word() -> None:
    # As Firefox and WebKit have it: the body ends, and only the length says that it should not.
    def broken(count: int, first: int = 0) -> FakeResponse:
        fields = {"content-length": str(len(DATA) - first)}
        if first:
            fields["content-range"] = f"bytes {first}-{len(DATA) - 1}/{len(DATA)}"
        body = DATA[first : first + count]
        return FakeResponse(BASE + PATH, 206 if first else 200, body, fields)

    blob = Blob(answers(broken(100), broken(0, 100), broken(0, 100)))
    assert blob.read(0, len(DATA)) == DATA
    assert len(blob.troubles) == 3
    assert "connection broke" in blob.troubles[0].message
    with pytest.raises(NetworkError, match="connection broke"):
        Blob(answers(broken(100), *(broken(0, 100) for _ in range(ATTEMPTS)))).read(0, len(DATA))
