"""Requests to web servers in the container."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from browsermount.errors import NetworkError
from browsermount.network.addresses import GUEST, LOOPBACK, Endpoint
from browsermount.network.http1 import InvalidMessage, Response, ResponseReader
from browsermount.network.stack import Stack
from browsermount.network.stream import Stream

_OURS = frozenset(("connection", "content-length", "transfer-encoding", "expect", "host"))


async def reach(stack: Stack, port: int) -> Stream:
    """Connect to a server in the container.

    Raises:
        ConnectionError: None is there.
    """
    # Servers that listen at all addresses take either; many listen at 127.0.0.1 alone.
    for address in (LOOPBACK, GUEST):
        stream = Stream(stack.connect(Endpoint(address, port)))
        try:
            await stream.opened()
        except ConnectionRefusedError:
            continue
        except BaseException:
            stream.abort()
            raise
        return stream
    raise ConnectionRefusedError(f"nothing in the container listens at port {port}")


class GuestAnswer:
    """What a server in the container has answered.

    Attributes:
        head: The status and the headers.
    """

    def __init__(self, stream: Stream, reader: ResponseReader, head: Response) -> None:
        self.head = head
        self._stream = stream
        self._reader = reader

    async def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the body once, as it comes.

        Raises:
            NetworkError: It ends before its end.
        """
        try:
            async for part in self._reader.parts(self.head):
                yield part
        except (ConnectionError, InvalidMessage) as error:
            raise NetworkError(f"the server in the container broke off: {error}") from error
        finally:
            self.close()

    def close(self) -> None:
        """Give up what has not been read."""
        self._stream.close()


async def request(
    stack: Stack,
    port: int,
    method: str,
    target: str,
    *,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
) -> GuestAnswer:
    """Send a request to a server in the container.

    Args:
        stack: Where the container is.
        port: The server's.
        method: In capital letters.
        target: The path, with the query.
        headers: Names and values, without those that are about the connection.
        body: What is uploaded.

    Raises:
        NetworkError: There is no server, or it gave no answer.
    """
    lines = [f"{method} {target} HTTP/1.1", f"host: localhost:{port}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers if name.lower() not in _OURS]
    if body or method in {"POST", "PUT", "PATCH"}:
        lines.append(f"content-length: {len(body)}")
    if any(control in line for line in lines for control in "\r\n\0") or " " in target:
        raise NetworkError("a request's target and headers must be single lines")
    head = "".join(f"{line}\r\n" for line in lines) + "\r\n"
    try:
        stream = await reach(stack, port)
    except ConnectionError as error:
        raise NetworkError(str(error)) from error
    try:
        await stream.write(head.encode("latin-1", "replace") + body)
        reader = ResponseReader(stream, method)
        return GuestAnswer(stream, reader, await reader.head())
    except (ConnectionError, InvalidMessage) as error:
        stream.abort()
        raise NetworkError(f"the server at port {port} gave no answer: {error}") from error
    except BaseException:
        stream.abort()
        raise
