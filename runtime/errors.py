"""Errors by what the caller does about them, and the one table that sorts foreign errors.

AlertsError
├── InvalidError    the data can never succeed        → dead letter, with `reason`
├── TransientError  a dependency is away or busy      → wait and try again, nothing acknowledged
└── FatalError      this process cannot go on         → end it; the supervisor starts a clean one

Whatever is none of these is a bug: bounded tries, then a dead letter.
"""

import asyncio
import traceback
from enum import StrEnum
from pathlib import Path
from typing import Final

import asyncpg
from aiokafka import errors as kafka


class AlertsError(Exception):
    """Base of all errors raised on purpose."""


class InvalidError(AlertsError):
    """The data can never succeed. `reason` is a short code from a closed set of its stage."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class TransientError(AlertsError):
    """A dependency is away or busy; the same call may succeed later."""


class FatalError(AlertsError):
    """The process cannot go on and must end."""


class Failure(StrEnum):
    """What to do about an exception."""

    INVALID = "invalid"
    TRANSIENT = "transient"
    FATAL = "fatal"
    BUG = "bug"


# SQLSTATE classes, https://www.postgresql.org/docs/current/errcodes-appendix.html
# 25006: the server is read-only, as the old primary is after a failover; 25P03 and 25P04 are its time limits
_TRANSIENT_SQLSTATE: Final = ("08", "25006", "25P03", "25P04", "40", "53", "55P03", "57", "58")
_INVALID_SQLSTATE: Final = ("22", "23", "54")
# Class 42 is a query that does not fit the schema: code and migrations differ, no fault of the data.
_FATAL_SQLSTATE: Final = ("28", "3D", "3F", "42")

# The connection's settings do not fit this client or server.
_FATAL_CLIENT: Final = (
    asyncpg.ClientConfigurationError,
    asyncpg.UnsupportedClientFeatureError,
    asyncpg.UnsupportedServerFeatureError,
)

# Wrong credentials, missing rights, a wrong setting, or a producer that must be replaced. As bugs they would
# turn every record into a dead letter.
_FATAL_KAFKA: Final = (
    kafka.AuthenticationFailedError,
    kafka.AuthenticationMethodNotSupported,
    kafka.SaslAuthenticationFailed,
    kafka.UnsupportedSaslMechanismError,
    kafka.IllegalSaslStateError,
    kafka.SecurityDisabled,
    kafka.TopicAuthorizationFailedError,
    kafka.GroupAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
    kafka.InvalidReplicationFactorError,
    kafka.ProducerFenced,
    kafka.InvalidProducerEpoch,
    kafka.OutOfOrderSequenceNumber,
    kafka.UnknownProducerId,
    kafka.UnsupportedVersionError,
)
# A closed or timed-out client and a broker on its way out are no fault of the data either.
_TRANSIENT_KAFKA: Final = (
    kafka.KafkaTimeoutError,
    kafka.KafkaConnectionError,
    kafka.KafkaUnavailableError,
    kafka.ProducerClosed,
    kafka.BrokerNotAvailableError,
    kafka.ReplicaNotAvailableError,
)
_INVALID_KAFKA: Final = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)


def classify(error: BaseException) -> Failure:
    """Sort any exception. Total: what is not known is a bug."""
    if isinstance(error, InvalidError):
        return Failure.INVALID
    if isinstance(error, TransientError):
        return Failure.TRANSIENT
    if isinstance(error, FatalError):
        return Failure.FATAL
    if isinstance(error, asyncpg.PostgresError):
        return _classify_sqlstate(error.sqlstate or "")
    if isinstance(error, kafka.KafkaError):
        return _classify_kafka(error)
    return _classify_connection(error)


def reason_of(error: BaseException) -> str:
    """A short code that says why: `InvalidError.reason`, an SQLSTATE or the exception's type."""
    if isinstance(error, InvalidError):
        return error.reason
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate:
        return f"sqlstate_{error.sqlstate}"
    return type(error).__name__


def frames_of(error: BaseException) -> list[str]:
    """Where it happened, for logs: without the exception's text, which may quote the data."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


def _classify_sqlstate(sqlstate: str) -> Failure:
    if sqlstate.startswith(_TRANSIENT_SQLSTATE):
        return Failure.TRANSIENT
    if sqlstate.startswith(_INVALID_SQLSTATE):
        return Failure.INVALID
    return Failure.FATAL if sqlstate.startswith(_FATAL_SQLSTATE) else Failure.BUG


def _classify_kafka(error: kafka.KafkaError) -> Failure:
    if isinstance(error, _FATAL_KAFKA):
        return Failure.FATAL
    if isinstance(error, _INVALID_KAFKA):
        return Failure.INVALID
    # aiokafka marks what it would retry itself
    retriable = bool(error.retriable) or isinstance(error, _TRANSIENT_KAFKA)
    return Failure.TRANSIENT if retriable else Failure.BUG


def _classify_connection(error: BaseException) -> Failure:
    if isinstance(error, _FATAL_CLIENT):
        return Failure.FATAL
    # a connection that the server ended between two statements: asyncpg calls the next one a state error
    if isinstance(error, asyncpg.InternalClientError) and not isinstance(error, asyncpg.ProtocolError):
        return Failure.TRANSIENT
    if isinstance(error, asyncpg.InterfaceError | asyncio.TimeoutError | ConnectionError | OSError):
        return Failure.TRANSIENT
    return Failure.BUG
