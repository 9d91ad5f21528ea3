"""What each topic carries: which record, under which key, with which headers, and who sends and reads it."""

from dataclasses import dataclass
from typing import Final

from schemas.headers import (
    CAPTURE_EVENT_TYPE,
    CAPTURE_REQUEST_TYPE,
    REFUSED_TYPE,
    SIGNAL_TYPE,
    STORED_SIGNAL_TYPE,
    TENANT_TYPE,
    WEBHOOK_TYPE,
)
from schemas.records import (
    CaptureEvent,
    CaptureRequest,
    Record,
    RefusedCalls,
    Signal,
    StoredSignal,
    Tenant,
)
from schemas.topics import (
    CAPTURE_EVENTS,
    CAPTURES,
    DEADLETTERS,
    SIGNALS,
    SIGNALS_REPLAY,
    SIGNALS_STORED,
    TENANTS,
    WEBHOOKS_OVERFLOW,
    WEBHOOKS_RAW,
    WEBHOOKS_REFUSED,
    WEBHOOKS_REPLAY,
    Topic,
)

JSON_CONTENT: Final = "application/json"
BYTES_CONTENT: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class MessageKind:
    """What the records of some topics have in common.

    `record` is none where the value is bytes that we do not define, `event_type` is none where the envelope
    is another record's. `headers` names sections of `contracts/headers.toml`, `key` one of its keys.
    """

    name: str
    summary: str
    record: type[Record] | None
    event_type: str | None
    topics: tuple[Topic, ...]
    headers: tuple[str, ...] = ("envelope", "redriven")
    key: str = "user_id"

    @property
    def content_type(self) -> str:
        return JSON_CONTENT if self.record else BYTES_CONTENT


MESSAGE_KINDS: Final[tuple[MessageKind, ...]] = (
    MessageKind(
        "webhook",
        "An accepted webhook: the body byte for byte, everything else in headers.",
        None,
        WEBHOOK_TYPE,
        (WEBHOOKS_RAW, WEBHOOKS_OVERFLOW, WEBHOOKS_REPLAY),
        headers=("envelope", "webhook", "redriven"),
    ),
    MessageKind(
        "refused_calls",
        "Webhook calls that were turned away alike, counted.",
        RefusedCalls,
        REFUSED_TYPE,
        (WEBHOOKS_REFUSED,),
        key="client_address",
    ),
    MessageKind(
        "signal",
        "One accepted alert, normalized; the webhook's metadata in headers.",
        Signal,
        SIGNAL_TYPE,
        (SIGNALS, SIGNALS_REPLAY),
        headers=("envelope", "webhook", "redriven"),
    ),
    MessageKind(
        "stored_signal", "A signal was committed.", StoredSignal, STORED_SIGNAL_TYPE, (SIGNALS_STORED,)
    ),
    MessageKind(
        "capture_request",
        "Asks for one picture.",
        CaptureRequest,
        CAPTURE_REQUEST_TYPE,
        tuple(CAPTURES.values()),
    ),
    MessageKind(
        "capture_event", "What became of a request.", CaptureEvent, CAPTURE_EVENT_TYPE, (CAPTURE_EVENTS,)
    ),
    MessageKind("tenant", "A tenant as it is now.", Tenant, TENANT_TYPE, (TENANTS,)),
    MessageKind(
        "dead_letter",
        "What the pipeline could not handle: the original key, bytes and headers, and why it is here.",
        None,
        None,
        (DEADLETTERS,),
        headers=("deadletter",),
        key="original",
    ),
)


@dataclass(frozen=True, slots=True)
class Participant:
    """A role, or somebody outside, and the topics it sends to and receives from."""

    name: str
    summary: str
    sends: tuple[Topic, ...] = ()
    receives: tuple[Topic, ...] = ()


_LANES: Final = (WEBHOOKS_RAW, WEBHOOKS_OVERFLOW, WEBHOOKS_REPLAY)

PARTICIPANTS: Final[tuple[Participant, ...]] = (
    Participant(
        "ingest",
        "Accepts webhooks.",
        sends=(WEBHOOKS_RAW, WEBHOOKS_OVERFLOW, WEBHOOKS_REFUSED),
        receives=(TENANTS,),
    ),
    Participant(
        "process",
        "Turns webhooks into signals; each lane is a consumer group of its own.",
        sends=(SIGNALS, SIGNALS_REPLAY, DEADLETTERS),
        receives=(*_LANES, TENANTS),
    ),
    Participant(
        "sink",
        "Stores signals, then asks for their pictures; relays tenants; reconciles all topics with the store.",
        sends=(SIGNALS_STORED, *CAPTURES.values(), TENANTS, DEADLETTERS),
        receives=(*_LANES, SIGNALS, SIGNALS_REPLAY, CAPTURE_EVENTS, WEBHOOKS_REFUSED, DEADLETTERS),
    ),
    Participant(
        "capture",
        "Takes pictures, the most urgent plan first.",
        sends=(CAPTURE_EVENTS, DEADLETTERS),
        receives=tuple(CAPTURES.values()),
    ),
    Participant("api", "Serves the read side and pushes live.", receives=(SIGNALS_STORED,)),
    Participant(
        "operator",
        "Replays webhooks and redrives dead letters to the topic whose stage failed.",
        sends=(WEBHOOKS_REPLAY, *_LANES[:2], SIGNALS, SIGNALS_REPLAY, CAPTURE_EVENTS, *CAPTURES.values()),
        receives=(*_LANES[:2], DEADLETTERS),
    ),
    Participant("subscriber", "A service downstream.", receives=(SIGNALS,)),
)


def kind_of(topic: Topic) -> MessageKind:
    return next(kind for kind in MESSAGE_KINDS if topic in kind.topics)
