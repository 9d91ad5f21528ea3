"""The raw records that the benches publish past the ingress."""

from typing import Final
from uuid import UUID

from runtime.ids import received_at_of
from schemas.headers import Headers, WebhookMetadata, webhook_headers

BODY: Final = b'{"ticker": "BINANCE:ETHUSDT", "price": "3456.7", "action": "buy", "text": "%s"}' % (
    b"x" * 400
)


LABELLED: Final = """🐸 ADX DEF [APIDEVS]
🪙 Ticker: BINANCE:BTCUSDT
💰 Precio: $67,890.50
📈 Señal: Divergencia Alcista 🟢
⏱ Temporalidad: 15
⏰ Hora: 2026-03-14T09:26:53Z
Sesgo: Largo
Fuerza: 27.4""".encode()


def headers_of(signal_id: UUID, body: bytes = BODY) -> Headers:
    received_at = received_at_of(signal_id)
    return webhook_headers(
        WebhookMetadata(
            signal_id, received_at, "192.0.2.7", "Go-http-client/1.1", "application/json", "", 1, len(body)
        )
    )
