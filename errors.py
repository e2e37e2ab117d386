"""What can go wrong that is not a bug.

    ServiceError
    ├── InvalidInput     what the caller sent does not make sense
    ├── Unauthorized     no valid API key
    ├── Forbidden        a valid API key without the needed scope
    ├── NotFound
    ├── Conflict         clashes with what is stored
    ├── RequestTimeout   the request came too slowly
    ├── TooLarge         the request body is over the limit
    ├── HeadersTooLarge  the request's head is over the limit
    ├── RateLimited      too many requests; carries when to come back
    ├── Unavailable      the database cannot serve now; nothing was stored
    └── StartRefused     the service must not start like this

Everything else that is raised is a bug. Only the HTTP edge turns these into status numbers.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class ServiceError(Exception):
    """A failure with a code for programs and a sentence for people.

    `retry_after` is in whole seconds, at least 1, and None where waiting does not help.
    """

    code = "internal_error"

    def __init__(self, details: str, *, retry_after: int | None = None) -> None:
        super().__init__(details)
        self.details = details
        self.retry_after = retry_after


class InvalidInput(ServiceError):
    code = "invalid_schema"


@contextmanager
def inside(place: str) -> Iterator[None]:
    """InvalidInput that is raised within names a field of what stands at `place`: it is told with
    its whole place, `filter.q` for `q`."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(f"{place}.{error.details}") from None


class Unauthorized(ServiceError):
    code = "unauthorized"


class Forbidden(ServiceError):
    code = "forbidden"


class NotFound(ServiceError):
    code = "not_found"


class Conflict(ServiceError):
    code = "conflict"


class RequestTimeout(ServiceError):
    code = "timeout"


class TooLarge(ServiceError):
    code = "payload_too_large"


class HeadersTooLarge(ServiceError):
    code = "headers_too_large"


class RateLimited(ServiceError):
    code = "rate_limit_exceeded"


class Unavailable(ServiceError):
    code = "unavailable"

    def __init__(self, details: str, *, retry_after: int = 2) -> None:
        super().__init__(details, retry_after=retry_after)


class StartRefused(ServiceError):
    code = "start_refused"
