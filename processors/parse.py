"""From the bytes of a webhook to a signal: decode, recognise, extract, normalize, enrich."""

from functools import lru_cache
from typing import Final

import msgspec

from processors.charts import choose_chart
from processors.decode import decode_body
from processors.indicators import IndicatorBook
from processors.normalize import Normalizer, status_of
from processors.reading import Field
from processors.recognise import Recognised, recognise
from processors.vocabulary import Vocabulary
from schemas.headers import WebhookMetadata
from schemas.records import Lane, Signal, Source, SourceFormat, Tenant, Warning_

MAX_MESSAGE: Final = 65_536


_WARNINGS: Final = tuple(Warning_)
# members of an enum are slow to reach in Python 3.11
_CHART: Final = Field.CHART
_INDICATOR: Final = Field.INDICATOR


class _Understood(msgspec.Struct, frozen=True, gc=False):
    recognised: Recognised
    vocabulary: Vocabulary
    indicator_file: str | None


def parse_webhook(
    body: bytes, metadata: WebhookMetadata, tenant: Tenant, lane: Lane, vocabulary: IndicatorBook
) -> Signal:
    """One signal, whatever the bytes. Total and linear in their number; no I/O; equal input, equal output.

    What could not be taken at face value is in `warnings`, in the order of the closed list.
    """
    decoded = decode_body(body)
    understood = _understand(decoded.text, vocabulary)
    reading = understood.recognised.reading
    values = Normalizer(reading, understood.vocabulary, reading.warnings)
    chart = choose_chart(
        metadata.query, reading.candidates(_CHART), reading.searchable, tenant.default_chart_id
    )
    if decoded.warning or chart.warning:
        values.warnings.update(filter(None, (decoded.warning, chart.warning)))
    market, price, move, moments = values.market(), values.price(), values.move(), values.moments()
    return Signal(
        signal_id=metadata.signal_id,
        user_id=tenant.user_id,
        plan=tenant.plan,
        received_at=metadata.received_at,
        indicator=values.indicator(),
        signal_type=move.signal_type,
        direction=move.direction,
        ticker=market.ticker,
        exchange=market.exchange,
        symbol=market.symbol,
        delayed=market.delayed,
        price=price,
        interval=values.interval(),
        bar_time=moments.bar_time,
        triggered_at=moments.triggered_at,
        chart_id=chart.value,
        fields=values.fields(),
        message=values.message(understood.recognised.message, MAX_MESSAGE),
        parse_status=status_of(market, price, move),
        warnings=_ordered(values.warnings) if values.warnings else [],
        source=_kept_source(reading.format, understood.indicator_file, vocabulary.parse_revision),
        lane=lane,
    )


def _understand(text: str, book: IndicatorBook) -> _Understood:
    """Read with the general vocabulary; if the indicator's own has other labels, read again with it."""
    recognised = recognise(text, book.base)
    reading = recognised.reading
    family = book.family_of(reading.best(_INDICATOR) or reading.headline)
    if family is None:
        return _Understood(recognised, book.base, None)
    if family.has_labels:
        recognised = recognise(text, family.vocabulary)
    return _Understood(recognised, family.vocabulary, family.file)


@lru_cache(maxsize=256)
def _kept_source(form: SourceFormat, file: str | None, revision: int) -> Source:
    return Source(format=form, indicator_file=file, parse_revision=revision)


def _ordered(found: set[Warning_]) -> list[Warning_]:
    return sorted(found, key=_WARNINGS.index)
