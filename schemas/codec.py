"""Records to bytes and back. Pure, thread-safe."""

from typing import Any, Final, TypeVar

import msgspec

from schemas.records import ExactDecimal, Record

RecordT = TypeVar("RecordT", bound=Record)

_decoders: dict[type[Record], msgspec.json.Decoder[Any]] = {}


def _to_json(value: object) -> str:
    if isinstance(value, ExactDecimal):
        return str(value)
    raise TypeError(f"a record must not hold a {type(value).__name__}")


def _from_json(kind: type, value: object) -> ExactDecimal:
    if kind is ExactDecimal and isinstance(value, str):
        return ExactDecimal(value)
    raise TypeError(f"a record must not hold a {kind.__name__}")


_encoder: Final = msgspec.json.Encoder(enc_hook=_to_json)


class RecordDecodeError(ValueError):
    """The bytes are not a record of the wanted type. Never true of bytes that `encode` made."""


def encode(record: Record) -> bytes:
    """Compact JSON."""
    return _encoder.encode(record)


def decode(data: bytes, kind: type[RecordT]) -> RecordT:
    """Raises `RecordDecodeError` with the path of the first field that does not fit."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders.setdefault(kind, msgspec.json.Decoder(kind, dec_hook=_from_json))
    try:
        record: RecordT = decoder.decode(data)
    except (msgspec.MsgspecError, ArithmeticError, RecursionError, UnicodeDecodeError) as error:
        raise RecordDecodeError(str(error)) from error
    return record
