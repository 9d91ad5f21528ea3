"""How one message is read, field by field: for whoever adds an indicator. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from processors.decode import decode_body
from processors.indicators.advice import advice_on
from processors.indicators.book import IndicatorBook
from processors.indicators.files import SourceFile, base_of
from processors.indicators.origins import Origins
from processors.parse import parse_webhook
from processors.reading import Field
from processors.recognise import recognise
from schemas.headers import WebhookMetadata, rfc3339
from schemas.plans import Plan
from schemas.records import Lane, Signal, Tenant

_NOBODY: Final = UUID(int=0)
_TENANT: Final = Tenant(
    user_id=_NOBODY,
    revision=0,
    plan=Plan.FREE,
    token_hashes=[],
    webhook_enabled=True,
    captures_enabled=False,
)


@dataclass(frozen=True, slots=True)
class Sample:
    """A message as a webhook would bring it."""

    body: bytes
    received_at: datetime
    query: str = ""
    content_type: str = "text/plain; charset=utf-8"


class Row(NamedTuple):
    """A field of the signal. `origin` says which text it was read from; empty where nothing fed it."""

    field: str
    value: str | None
    origin: str


@dataclass(frozen=True, slots=True)
class Trial:
    """`recognised_by` are the names of all files that know the indicator; the first one reads it."""

    signal: Signal
    recognised_by: list[str]
    rows: list[Row]
    advice: list[str]


def try_message(sample: Sample, files: Sequence[SourceFile], book: IndicatorBook) -> Trial:
    """Read a message as the processors do, for a tenant nobody is. `book` is that of the files."""
    signal = parse_webhook(sample.body, _metadata(sample), _TENANT, Lane.MAIN, book)
    text = decode_body(sample.body).text
    general = recognise(text, book.base).reading
    families = book.families_of(general.best(Field.INDICATOR) or general.headline or "")
    vocabulary = families[0].vocabulary if families else book.base
    known = [family.file for family in families]
    own = [file.content for file in files if file.name in known[:1]]
    reading = recognise(text, vocabulary).reading
    origins = Origins(reading, vocabulary, [*own, base_of(files).content])
    return Trial(signal, known, _rows(signal, origins, sample.query), advice_on(signal, origins, known))


def _metadata(sample: Sample) -> WebhookMetadata:
    return WebhookMetadata(
        signal_id=_NOBODY,
        received_at=sample.received_at,
        client_address="",
        user_agent="",
        content_type=sample.content_type,
        query=sample.query,
        tenant_revision=_TENANT.revision,
        body_bytes=len(sample.body),
    )


def _rows(signal: Signal, origins: Origins, query: str) -> list[Row]:
    price = None if signal.price is None else str(signal.price)
    return [
        Row("indicator", signal.indicator, origins.indicator()),
        Row("ticker", signal.ticker, origins.ticker(signal)),
        Row("exchange", signal.exchange, origins.exchange(signal)),
        Row("symbol", signal.symbol, "the ticker" if signal.symbol else ""),
        Row("delayed", "yes" if signal.delayed else "no", ""),
        Row("price", price, origins.price()),
        Row("signal_type", signal.signal_type, origins.signal_type(signal)),
        Row("direction", signal.direction, origins.direction()),
        Row("interval", signal.interval, origins.interval()),
        Row("bar_time", _moment(signal.bar_time), origins.bar_time()),
        Row("triggered_at", _moment(signal.triggered_at), origins.triggered_at()),
        Row("chart_id", signal.chart_id, origins.chart(signal, query)),
        *(Row(f"fields.{key}", value, "a label that no file knows") for key, value in signal.fields.items()),
    ]


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
