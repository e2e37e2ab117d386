"""One POST to an endpoint, at the very address that was checked.

The host's addresses are looked up and checked once for each POST, and the connection goes to one of
these by its number: a name that leads elsewhere a moment later leads nobody there. The certificate
is checked against the name all the same. Redirects are not followed, and no proxy, cookie or
password of the environment is used.
"""

import asyncio
import ssl
import time
from collections.abc import Collection, Mapping
from contextlib import suppress

from analysis.deliveries import KEPT_CHARACTERS, Answered, Attempt, NotAnswered
from notices.addresses import (
    AddressRefused,
    Resolve,
    WebAddress,
    addresses_of,
    bracketed,
    canonical_host,
    parse_url,
    system_resolve,
)
from runtime.retry_after import told_seconds

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 15.0
READ_SECONDS = 2.0
"""For the body, once the status is there: it is only shown."""
MAX_READ_BYTES = 4096


class WebClient:
    def __init__(
        self,
        *,
        private_hosts: Collection[str] = (),
        resolve: Resolve = system_resolve,
        certificates: ssl.SSLContext | None = None,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        """`certificates` are httpx's own where none are given, read at the first POST."""
        self._private_hosts = frozenset(map(canonical_host, private_hosts))
        self._resolve = resolve
        self._certificates = certificates
        self._total_seconds = total_seconds

    async def check(self, url: str) -> None:
        """Raises AddressRefused for a URL that may not be called. A host without an address, as far
        as is known now, is taken: it is looked up again at each POST."""
        target = parse_url(url, self._private_hosts)
        with suppress(OSError):  # TimeoutError is one
            async with asyncio.timeout(CONNECT_SECONDS):
                await addresses_of(target, self._resolve)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Attempt:
        """What came of it, within 15 seconds."""
        import httpx  # 30 ms that a start without endpoints does not need

        try:
            async with asyncio.timeout(self._total_seconds):
                target = parse_url(url, self._private_hosts)
                addresses = await addresses_of(target, self._resolve)
                return await self._post_to_first(target, addresses, body, headers)
        except AddressRefused as error:
            return NotAnswered(f"the URL {error}")
        except TimeoutError:
            return NotAnswered(f"no answer within {self._total_seconds:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            return NotAnswered(_presentable(str(error) or type(error).__name__))

    async def _post_to_first(
        self,
        target: WebAddress,
        addresses: Collection[str],
        body: bytes,
        headers: Mapping[str, str],
    ) -> Attempt:
        """To the first address that takes the connection."""
        import httpx

        if target.scheme == "https" and self._certificates is None:
            self._certificates = await asyncio.to_thread(httpx.create_ssl_context)
        deadline = time.monotonic() + CONNECT_SECONDS
        failed: httpx.HTTPError | None = None
        for address in addresses:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                return await self._post_to(target, address, left, body, headers)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failed = error
        raise failed or TimeoutError

    async def _post_to(
        self,
        target: WebAddress,
        address: str,
        connect_seconds: float,
        body: bytes,
        headers: Mapping[str, str],
    ) -> Attempt:
        import httpx

        # A client for each, so that no connection is shared by names that have one address.
        async with (
            httpx.AsyncClient(
                verify=self._certificates or False,  # False with plain http alone
                trust_env=False,
                timeout=httpx.Timeout(None, connect=connect_seconds),
            ) as client,
            client.stream(
                "POST",
                f"{target.scheme}://{bracketed(address)}:{target.port}{target.path}",
                content=body,
                headers={
                    **headers,
                    "Host": target.authority,
                    "Accept-Encoding": "identity",
                    "Connection": "close",
                },
                # The name that is asked for in TLS, and that the certificate must bear.
                extensions={"sni_hostname": target.host},
            ) as response,
        ):
            said = b""
            with suppress(TimeoutError, httpx.HTTPError):
                async with asyncio.timeout(READ_SECONDS):
                    async for chunk in response.aiter_raw(MAX_READ_BYTES):
                        said += chunk
                        if len(said) >= MAX_READ_BYTES:
                            break
            return Answered(
                response.status_code,
                _presentable(said[:MAX_READ_BYTES].decode(errors="replace")),
                told_seconds(response.headers.get("retry-after")),
            )


def _presentable(said: str) -> str:
    """On one line, printable, and short."""
    line = " ".join("".join(c if c.isprintable() else " " for c in said).split())
    return line[:KEPT_CHARACTERS]
