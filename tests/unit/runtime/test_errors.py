"""The table of errors: every exception the libraries define is sorted, and the important ones rightly."""

import asyncio
import errno
import inspect
import ssl
from collections import Counter
from types import ModuleType

import asyncpg
import pytest
from aiokafka import errors as kafka
from asyncpg import exceptions as postgres

from runtime.errors import Failure, FatalError, InvalidError, TransientError, classify, reason_of

INVALID, TRANSIENT, FATAL, BUG = Failure.INVALID, Failure.TRANSIENT, Failure.FATAL, Failure.BUG


def classes_of(module: ModuleType) -> list[type[BaseException]]:
    found = {value for value in vars(module).values() if inspect.isclass(value)}
    return sorted(
        (kind for kind in found if issubclass(kind, BaseException)), key=lambda kind: kind.__qualname__
    )


def made(kind: type[BaseException]) -> BaseException:
    """An instance, whatever its constructor wants."""
    try:
        return kind("text")
    except TypeError:
        return kind.__new__(kind)


def counts(module: ModuleType) -> dict[Failure, int]:
    return dict(Counter(classify(made(kind)) for kind in classes_of(module)))


def test_every_postgres_error_is_sorted() -> None:
    """None raises, and an upgrade that adds classes is noticed here and thought about."""
    assert counts(postgres) == {INVALID: 79, TRANSIENT: 37, FATAL: 51, BUG: 108}


def test_every_kafka_error_is_sorted() -> None:
    """None raises, and an upgrade that adds classes is noticed here and thought about."""
    assert counts(kafka) == {INVALID: 2, TRANSIENT: 25, FATAL: 15, BUG: 62}


def test_every_library_error_has_a_short_reason() -> None:
    """A reason goes into headers and logs, so it never quotes the exception's text."""
    reasons = [reason_of(made(kind)) for kind in classes_of(postgres) + classes_of(kafka)]
    assert all(reason.isidentifier() for reason in reasons)
    assert "text" not in reasons


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        # the data
        (asyncpg.DataError("argument $1"), INVALID),
        (asyncpg.NumericValueOutOfRangeError("x"), INVALID),
        (asyncpg.CharacterNotInRepertoireError("x"), INVALID),
        (asyncpg.UniqueViolationError("x"), INVALID),
        (asyncpg.NotNullViolationError("x"), INVALID),
        (asyncpg.ProgramLimitExceededError("index row too large"), INVALID),
        # the server is away, busy, full or being replaced
        (asyncpg.ConnectionDoesNotExistError("x"), TRANSIENT),
        (asyncpg.TooManyConnectionsError("x"), TRANSIENT),
        (asyncpg.DiskFullError("x"), TRANSIENT),
        (asyncpg.DeadlockDetectedError("x"), TRANSIENT),
        (asyncpg.SerializationError("x"), TRANSIENT),
        (asyncpg.LockNotAvailableError("x"), TRANSIENT),
        (asyncpg.AdminShutdownError("x"), TRANSIENT),
        (asyncpg.CannotConnectNowError("starting up"), TRANSIENT),
        (asyncpg.QueryCanceledError("statement timeout"), TRANSIENT),
        (asyncpg.ReadOnlySQLTransactionError("this was the primary"), TRANSIENT),
        (asyncpg.IdleInTransactionSessionTimeoutError("x"), TRANSIENT),
        (asyncpg.InterfaceError("connection is closed"), TRANSIENT),
        (asyncpg.InternalClientError("another operation is in progress"), TRANSIENT),
        (asyncpg.ProtocolError("unexpected message"), BUG),
        # nothing cures it but a person
        (asyncpg.InvalidPasswordError("x"), FATAL),
        (asyncpg.InsufficientPrivilegeError("x"), FATAL),
        (asyncpg.InvalidCatalogNameError("no such database"), FATAL),
        (asyncpg.UndefinedTableError("not migrated"), FATAL),
        (asyncpg.UndefinedColumnError("not migrated"), FATAL),
        (asyncpg.ClientConfigurationError("invalid DSN"), FATAL),
        # ours
        (asyncpg.RaiseError("x"), BUG),
        (asyncpg.CardinalityViolationError("x"), BUG),
        (asyncpg.PostgresError("without a code"), BUG),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_postgres_errors_by_what_cures_them(error: Exception, expected: Failure) -> None:
    """The rows of the table that decide between a dead letter, waiting and ending."""
    assert classify(error) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (kafka.MessageSizeTooLargeError(), INVALID),
        (kafka.RecordListTooLargeError(), INVALID),
        (kafka.KafkaConnectionError(), TRANSIENT),
        (kafka.KafkaTimeoutError(), TRANSIENT),
        (kafka.RequestTimedOutError(), TRANSIENT),
        (kafka.NodeNotReadyError(), TRANSIENT),
        (kafka.NotLeaderForPartitionError(), TRANSIENT),
        (kafka.NotEnoughReplicasError(), TRANSIENT),
        (kafka.NotEnoughReplicasAfterAppendError(), TRANSIENT),
        (kafka.UnknownTopicOrPartitionError(), TRANSIENT),
        (kafka.CoordinatorNotAvailableError(), TRANSIENT),
        (kafka.BrokerNotAvailableError(), TRANSIENT),
        (kafka.KafkaStorageError(), TRANSIENT),
        (kafka.ProducerClosed(), TRANSIENT),
        (kafka.AuthenticationFailedError(), FATAL),
        (kafka.SaslAuthenticationFailed(), FATAL),
        # as a bug, a missing right would turn every record into a dead letter
        (kafka.TopicAuthorizationFailedError(), FATAL),
        (kafka.GroupAuthorizationFailedError(), FATAL),
        (kafka.ClusterAuthorizationFailedError(), FATAL),
        (kafka.InvalidReplicationFactorError(), FATAL),
        (kafka.ProducerFenced(), FATAL),
        (kafka.InvalidProducerEpoch(), FATAL),
        (kafka.OutOfOrderSequenceNumber(), FATAL),
        (kafka.UnknownProducerId(), FATAL),
        (kafka.UnsupportedVersionError(), FATAL),
        (kafka.IllegalStateError(), BUG),
        (kafka.InvalidTopicError(), BUG),
        (kafka.UnknownError(), BUG),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_kafka_errors_by_what_cures_them(error: Exception, expected: Failure) -> None:
    """The rows of the table that decide between a dead letter, waiting and ending."""
    assert classify(error) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InvalidError("unfit"), INVALID),
        (TransientError("away"), TRANSIENT),
        (FatalError("over"), FATAL),
        (TimeoutError(), TRANSIENT),
        (ConnectionResetError(), TRANSIENT),
        (ConnectionRefusedError(), TRANSIENT),
        (BrokenPipeError(), TRANSIENT),
        (OSError(errno.ENOSPC, "no space"), TRANSIENT),
        (OSError(errno.EHOSTUNREACH, "no route"), TRANSIENT),
        (ssl.SSLError("handshake"), TRANSIENT),
        (ZeroDivisionError(), BUG),
        (ValueError(), BUG),
        (KeyError("x"), BUG),
        (RecursionError(), BUG),
        (asyncio.CancelledError(), BUG),
        (KeyboardInterrupt(), BUG),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value,
)
def test_other_errors_by_what_cures_them(error: BaseException, expected: Failure) -> None:
    """Our own say it themselves, the network's are waited out, and what nobody foresaw is a bug."""
    assert classify(error) is expected


def test_reasons_are_codes() -> None:
    """The reason is the stage's own code, the SQLSTATE, or the exception's name; never its text."""
    assert reason_of(InvalidError("bad_key", "detail")) == "bad_key"
    assert reason_of(asyncpg.UniqueViolationError("detail")) == "sqlstate_23505"
    assert reason_of(asyncpg.InterfaceError("detail")) == "InterfaceError"
    assert reason_of(ZeroDivisionError("detail")) == "ZeroDivisionError"


def test_an_invalid_error_keeps_reason_and_detail_apart() -> None:
    """People read both, programs only the reason."""
    assert str(InvalidError("bad_key")) == "bad_key"
    assert str(InvalidError("bad_key", "no UUID")) == "bad_key: no UUID"
