"""Faust's Kafka transport with a consumer that never commits past an unacknowledged record.

`Consumer._new_offset` of faust-streaming 0.15.3 steps over one unacknowledged offset at the head of a
partition, and over any number while nothing has been committed (faust-streaming#606). Acknowledging in offset
order makes that unreachable; the cap here is the second lock on the same door.
"""

from typing import Any

import faust
from faust.transport.drivers import aiokafka as driver


class CappedConsumer(driver.Consumer):  # type: ignore[misc]
    """Caps the commit offset at the lowest record delivered under the present assignment and not acked."""

    def _new_offset(self, tp: Any) -> int | None:
        acked = self._acked[tp]
        lowest = self._lowest_unacked(tp)
        if lowest is None or not acked:
            offset: int | None = super()._new_offset(tp)
            return offset
        held_back = [offset for offset in acked if offset >= lowest]
        self._acked[tp] = [offset for offset in acked if offset < lowest]
        try:
            offset = super()._new_offset(tp)
        finally:
            self._acked[tp] = self._acked[tp] + held_back
        return offset

    def _lowest_unacked(self, tp: Any) -> int | None:
        generation = self.app.consumer_generation_id
        return min(
            (
                message.offset
                for message in list(self._unacked_messages)
                if message.tp == tp and not message.acked and message.generation_id == generation
            ),
            default=None,
        )


class CappedTransport(driver.Transport):  # type: ignore[misc]
    """The driver with the consumer above."""

    Consumer = CappedConsumer


class SafeApp(faust.App):  # type: ignore[misc]
    """An app on `CappedTransport`, whatever the broker URL's scheme asks for."""

    def _create_directories(self) -> None:
        """Without tables nothing is kept on disk, so no folder is made."""

    def _new_transport(self) -> CappedTransport:
        return CappedTransport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> CappedTransport:
        return CappedTransport(self.conf.broker_producer, self)
