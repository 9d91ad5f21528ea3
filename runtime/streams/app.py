"""Makes Faust apps: one per role and lane, with the settings that keep records safe."""

from typing import Any, Final

import faust
from faust.types.auth import AuthProtocol, SASLMechanism

from runtime.kafka import ssl_context
from runtime.kafka_connections import guard_connections
from runtime.settings import KafkaSettings
from runtime.streams.transport import NoTables, SafeApp
from runtime.streams.versions import check_versions

COMMIT_INTERVAL_S: Final = 0.5

# aiokafka throws a member out for good that polled nothing for this long, also one that has no partitions.
POLL_INTERVAL_S: Final = 1e7

SESSION_TIMEOUT_S: Final = 15.0
"""How long a dead member keeps its partitions, unless it comes back under its instance id."""


# A queue counts as full at 80 % and then still takes what one poll brought: less than the other 20 %, so that
# the loop which delivers for all topics never waits for the queue of one.
BUFFER_RECORDS: Final = 4096
POLL_RECORDS: Final = 500


def create_app(
    group: str, settings: KafkaSettings, session_timeout_s: float = SESSION_TIMEOUT_S
) -> faust.App:
    """An app for one consumer group. No tables, no web port, no topics of its own, raw bytes only.

    `stream_wait_empty` is off: a rebalance or a stop never waits for work in progress; what is not
    acknowledged is delivered again. `table_standby_replicas` above 0 selects Faust's own assignor, which
    gives a worker the same partitions of topics of equal size. Raises `FatalError` when the installed
    libraries are not those this was written for.
    """
    check_versions()
    guard_connections()
    return SafeApp(
        group,
        broker=[f"kafka://{address}" for address in settings.bootstrap.split(",")],
        broker_credentials=_credentials(settings),
        broker_commit_interval=COMMIT_INTERVAL_S,
        broker_max_poll_interval=POLL_INTERVAL_S,
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=session_timeout_s / 5,
        broker_rebalance_timeout=30.0,
        broker_request_timeout=40.0,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=settings.group_instance_id,
        consumer_max_fetch_size=4 * 1024 * 1024,
        broker_max_poll_records=POLL_RECORDS,
        cython_optimizations=True,
        key_serializer="raw",
        value_serializer="raw",
        store="memory://",
        stream_buffer_maxsize=BUFFER_RECORDS,
        stream_wait_empty=False,
        table_standby_replicas=1,
        TableManager=NoTables,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )


def _credentials(settings: KafkaSettings) -> Any:
    protocol = settings.security_protocol
    if protocol.startswith("SASL") and settings.sasl_password is not None:
        credentials = faust.SASLCredentials(
            username=settings.sasl_username,
            password=settings.sasl_password.get_secret_value(),
            mechanism=SASLMechanism(settings.sasl_mechanism),
            ssl_context=ssl_context(settings),
        )
        credentials.protocol = AuthProtocol(protocol)
        return credentials
    return faust.SSLCredentials(ssl_context(settings)) if protocol == "SSL" else None
