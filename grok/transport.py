"""Connections to Grok's server, and one response from it, bounded in bytes."""

import ssl
import zlib

import httpx

from runtime.proxies import Proxy

IDLE_CONNECTION_SECONDS = 30.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Of an answer, compressed and decompressed. The answer about ten texts has some 10 kB."""


class TooMuch(Exception):
    """The answer has no end, or is in an encoding that was not asked for."""


def build_transport(
    *, connections: int, proxy: Proxy | None, certificates: ssl.SSLContext | None
) -> httpx.AsyncHTTPTransport:
    """`certificates` are httpx's own where none are given. There is no client around it: what
    that does for cookies, redirects and logins takes a third of the time of a request."""
    return httpx.AsyncHTTPTransport(
        verify=certificates or True,
        proxy=proxy.for_client(certificates) if proxy else None,
        limits=httpx.Limits(
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=IDLE_CONNECTION_SECONDS,
        ),
    )


async def send(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> httpx.Response:
    """The whole response, its body bounded compressed and decompressed. Raises TooMuch."""
    response = await transport.handle_async_request(request)
    try:
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise TooMuch("is larger than 4 MB")
    finally:
        await response.aclose()
    headers = response.headers.copy()
    encoding = headers.pop("Content-Encoding", "identity").strip().casefold()
    headers.pop("Content-Length", None)
    headers.pop("Transfer-Encoding", None)
    content = bytes(body)
    if encoding in ("gzip", "x-gzip", "deflate"):  # although it was not asked for
        content = _inflated(content)
    elif encoding not in ("", "identity"):
        raise TooMuch(f"is encoded as {encoding[:20]}, which was not asked for")
    return httpx.Response(response.status_code, headers=headers, content=content, request=request)


def _inflated(body: bytes) -> bytes:
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # either of the two forms
    try:
        content = inflater.decompress(body, MAX_ANSWER_BYTES + 1)
    except zlib.error:
        raise TooMuch("cannot be decompressed") from None
    if len(content) > MAX_ANSWER_BYTES:
        raise TooMuch("is larger than 4 MB")
    return content
