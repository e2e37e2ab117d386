"""The service's HTTP API as the importer uses it: a service that is busy or away is asked again."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import httpx

from importing.errors import ImportFailed
from runtime.proxies import NOT_REACHED
from runtime.retry_after import told_seconds

FIRST_PATIENCE_SECONDS = 10.0
"""Until the service has answered for the first time: API_URL may be wrong."""
MAX_RETRY_AFTER_SECONDS = 120
MAX_BACKOFF_SECONDS = 30.0
_DEFAULT_RETRY_AFTER_SECONDS = 2
_RETRIED = (408, 429, 502, 503, 504)
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
_DOUBTFUL = (502, 503, 504)
"""They may hide that it was done: a connection that broke, of a proxy or to the database."""
_HINTS = {401: " (set API_KEY)", 403: " (set API_KEY)", 404: " (is API_URL right?)"}


class ApiClient:
    """Requests that are repeated until the service takes them.

    Statuses that ask for patience (408, 429, 502, 503, 504) are waited out for `Retry-After`, lost
    connections for 1, 2, 4 ... 30 s. A request that has waited for `patience` seconds in all raises
    ImportFailed, as does every request after it. `say` gets one line when a wait begins and one
    when it ends. May be used from one thread at a time; `stop` from any.
    """

    def __init__(
        self,
        http: httpx.Client,
        *,
        patience: float,
        sleep: Callable[[float], None],
        say: Callable[[str], None],
        via: str = "",
    ) -> None:
        """`via` is put behind the address where the service cannot be reached, to name a proxy."""
        self._http, self._patience = http, patience
        self._sleep, self._say, self._via = sleep, say, via
        self._reached = False
        self._stopped = False
        self.in_doubt = False
        """Whether the service may have done already what the last request asked for, in a try of
        which the answer was lost."""
        self.address = str(http.base_url.copy_with(username=None, password=None)).rstrip("/")
        """The service's, without a slash at its end and without a password."""

    def stop(self) -> None:
        """No request is sent any more: the one that waits raises ImportFailed, as do later ones."""
        self._stopped = True

    def get(self, path: str, **query: str | int) -> Any:
        """The answer's JSON. Raises ImportFailed."""
        return json_of(self._request("GET", path, params=query))

    def find(self, path: str, **query: str | int) -> Any:
        """As `get`; None where there is no such thing (404)."""
        answer = self._request("GET", path, params=query)
        return None if answer.status_code == 404 else json_of(answer)

    def post(self, path: str, body: bytes) -> httpx.Response:
        """`body` is JSON. The first answer that does not ask for patience, whatever its status.

        Raises ImportFailed.
        """
        headers = {"Content-Type": "application/json"}
        return self._request("POST", path, content=body, headers=headers)

    def _request(self, method: str, path: str, **request: Any) -> httpx.Response:
        failures, waited, told = 0, 0.0, False
        self.in_doubt = False
        while not self._stopped:
            try:
                answer = self._http.request(method, path, **request)
            except NOT_REACHED as error:
                problem = f"cannot reach {self.address}{self._via}: {error!s}"
                wait = min(MAX_BACKOFF_SECONDS, 2.0**failures)
                self.in_doubt = self.in_doubt or not isinstance(error, _NOT_SENT)
            else:
                self._reached = True
                if answer.status_code not in _RETRIED:
                    if told:
                        self._say(f"The service answers again, after {waited:.0f} s.")
                    return answer
                problem = str(refused(answer))
                self.in_doubt = self.in_doubt or answer.status_code in _DOUBTFUL
                wait = _retry_after(answer.headers)
            failures += 1
            patience = self._patience
            if not self._reached:
                patience = min(patience, FIRST_PATIENCE_SECONDS)
            if waited + wait > patience:
                self.stop()
                raise ImportFailed(f"{problem}; waited {waited:.0f} s")
            if not told and (failures > 1 or wait > 1):
                told = True
                self._say(f"{problem}; waiting up to {patience:.0f} s for it")
            self._sleep(wait)
            waited += wait
        raise ImportFailed("stopped")


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds, between 1 and MAX_RETRY_AFTER_SECONDS."""
    told = told_seconds(headers.get("retry-after"))
    seconds = _DEFAULT_RETRY_AFTER_SECONDS if told is None else told
    return max(1.0, min(seconds, MAX_RETRY_AFTER_SECONDS))


def refused(answer: httpx.Response) -> ImportFailed:
    """To be raised where the service does not do what it was asked for."""
    hint = _HINTS.get(answer.status_code, "")
    if answer.status_code < 400:  # a redirect, or a page to log in: another program's
        place = answer.headers.get("location", "")
        hint = f"{f' to {place}' if place else ''} (is API_URL right?)"
    return ImportFailed(f"the service answers {answer.status_code}: {details_of(answer)}{hint}")


def details_of(answer: httpx.Response) -> str:
    """The sentence of an error; the status in words where a proxy or another program answers."""
    with suppress(ValueError, TypeError, LookupError):
        return str(answer.json()["details"])
    return answer.reason_phrase


def json_of(answer: httpx.Response) -> Any:
    """What a good answer holds.

    Raises ImportFailed where it is an error, or another program's: a proxy's page, for example.
    """
    if not answer.is_success:
        raise refused(answer)
    try:
        return answer.json()
    except ValueError:
        path = answer.url.path
        raise ImportFailed(f"{path} is answered without JSON (is API_URL right?)") from None
