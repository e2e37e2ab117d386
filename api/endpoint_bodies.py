"""The bodies that make and change endpoints, and that ask for deliveries once more."""

from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StrictBool,
    StringConstraints,
    model_validator,
)

from analysis.deliveries import DeliveryState
from analysis.messages import EndpointKind, Event
from api.patch_bodies import IfNamed
from errors import InvalidInput
from notices.addresses import MAX_URL_LENGTH
from runtime.mail_server import MAX_ADDRESS_LENGTH, is_address
from schemas import PersonName, Shape, Time, storable


def _each_once(events: list[Event]) -> list[Event]:
    if not events:
        raise ValueError("must name at least one of alert, report and machine")
    return list(dict.fromkeys(events))


def _mailbox(address: str) -> str:
    address = address.strip()
    if not is_address(address):
        raise ValueError("must be the address of one mailbox, such as team@example.com")
    return address


Events = Annotated[list[Event], AfterValidator(_each_once)]
Url = Annotated[str, StringConstraints(max_length=MAX_URL_LENGTH), AfterValidator(storable)]
Mailbox = Annotated[str, StringConstraints(max_length=MAX_ADDRESS_LENGTH), AfterValidator(_mailbox)]


class EndpointIn(Shape):
    """Where messages go: `to` is for kind `email`, `url` for all others. `events` are those that go
    to all who take them; an alert goes to the endpoints that its rule names."""

    name: PersonName
    kind: EndpointKind
    url: Url | None = None
    to: Mailbox | None = None
    events: Events = Field(default_factory=lambda: list(Event), min_length=1)
    enabled: StrictBool = True

    @model_validator(mode="after")
    def _has_its_target(self) -> Self:
        check_target(self.kind, self.url, self.to)
        if self.target is None:
            field = "to" if self.kind is EndpointKind.EMAIL else "url"
            raise InvalidInput(f"Missing required field: {field}")
        return self

    @property
    def target(self) -> str | None:
        return self.to if self.kind is EndpointKind.EMAIL else self.url


class EndpointPatch(Shape):
    """What is named is changed. One that is disabled is sent nothing, and what waits for it has
    failed."""

    name: IfNamed[PersonName] = None
    kind: IfNamed[EndpointKind] = Field(None, description="Cannot be changed.")
    url: IfNamed[Url] = None
    to: IfNamed[Mailbox] = None
    events: IfNamed[Events] = None
    enabled: IfNamed[StrictBool] = None


def check_target(kind: EndpointKind, url: str | None, to: str | None) -> None:
    """Raises InvalidInput for a target that this kind does not have."""
    if kind is EndpointKind.EMAIL and url is not None:
        raise InvalidInput("url: an endpoint of kind email has `to` in its place")
    if kind is not EndpointKind.EMAIL and to is not None:
        raise InvalidInput(f"to: an endpoint of kind {kind} has `url` in its place")


class RetryIn(Shape):
    """Which failed deliveries are sent once more: those made in this time, both inclusive."""

    first: Time = Field(alias="from")
    last: Time = Field(alias="to")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.first > self.last:
            raise InvalidInput("from must not be after to")
        return self


class DeliveriesQuery(BaseModel):
    state: DeliveryState | None = None
    limit: int = Field(100, ge=1, le=1000)
    cursor: str | None = None
