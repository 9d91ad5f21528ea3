"""The settings that keep records safe."""

from types import SimpleNamespace

from runtime.settings import KafkaSettings, load_section
from runtime.streams.app import create_app

PLAIN = {"KAFKA_BOOTSTRAP": "one:9092,two:9093"}


def test_the_settings_that_keep_records_safe() -> None:
    """Each of these was found by an experiment to lose or stall records when it is otherwise."""
    conf = create_app("group", load_section(KafkaSettings, PLAIN)).conf
    assert conf.id == "group"
    assert [str(url) for url in conf.broker] == ["kafka://one:9092", "kafka://two:9093"]
    assert not conf.stream_wait_empty
    assert conf.broker_max_poll_interval >= 1e6
    assert conf.table_standby_replicas >= 1
    assert conf.stream_buffer_maxsize >= 4096
    # the queue is full at 80 %, and what one poll brings must fit into the rest
    assert conf.broker_max_poll_records <= conf.stream_buffer_maxsize / 5
    assert conf.broker_session_timeout <= conf.broker_request_timeout
    assert conf.consumer_auto_offset_reset == "earliest"
    assert conf.processing_guarantee.value == "at_least_once"
    assert not conf.topic_allow_declare
    assert conf.topic_disable_leader
    assert not conf.web_enabled
    assert not conf.stream_publish_on_commit


def test_a_named_process_keeps_its_place_in_the_group() -> None:
    """With a name a restart moves no partitions; without one the broker gives it a new identity."""
    named = load_section(KafkaSettings, {**PLAIN, "KAFKA_GROUP_INSTANCE_ID": "sink-1"})
    assert create_app("group", named).conf.consumer_group_instance_id == "sink-1"
    assert not create_app("group", load_section(KafkaSettings, PLAIN)).conf.consumer_group_instance_id


def test_every_app_is_new() -> None:
    """A restarted role in the same process must not meet the state of the one before."""
    settings = load_section(KafkaSettings, PLAIN)
    assert create_app("group", settings) is not create_app("group", settings)


def test_credentials_reach_the_library() -> None:
    """User, password and mechanism as set, under the protocol asked for."""
    values = {
        **PLAIN,
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_USERNAME": "alerts",
        "KAFKA_SASL_PASSWORD": "s3cr3t",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
    }
    credentials = create_app("group", load_section(KafkaSettings, values)).conf.broker_credentials
    assert (credentials.username, credentials.password) == ("alerts", "s3cr3t")
    assert credentials.mechanism.value == "SCRAM-SHA-256"
    assert credentials.protocol.value == "SASL_PLAINTEXT"
    assert "s3cr3t" not in repr(credentials)


def test_tls_without_a_password_is_tls() -> None:
    """The connection is encrypted and the broker's certificate checked."""
    app = create_app("group", load_section(KafkaSettings, {**PLAIN, "KAFKA_SECURITY_PROTOCOL": "SSL"}))
    assert app.conf.broker_credentials.protocol.value == "SSL"
    assert app.conf.broker_credentials.context.check_hostname
    assert create_app("group", load_section(KafkaSettings, PLAIN)).conf.broker_credentials is None


async def test_no_sensor_hears_of_events() -> None:
    """Each would cost calls an event; and a rebalance has something to hand back, or Faust logs a warning."""
    app = create_app("group", load_section(KafkaSettings, PLAIN))
    app.boot_strategy = SimpleNamespace(server=list)
    app.on_init_dependencies()
    assert list(app.sensors) == []
    assert app.sensors.on_rebalance_start(app)


async def test_an_app_does_not_wait_for_tables() -> None:
    """The original sleeps a second at each start before it looks whether there are any."""
    app = create_app("group", load_section(KafkaSettings, PLAIN))
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    app.tables.sleep = sleep
    app.tables._update_channels = _nothing
    app.tables._recovery = SimpleNamespace(start=_nothing)
    await app.tables.on_start()
    assert slept == []


async def _nothing() -> None: ...
