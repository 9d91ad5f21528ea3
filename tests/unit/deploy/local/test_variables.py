from pathlib import Path

from pydantic import SecretStr

from deploy.local.addresses import Addresses
from deploy.local.keychain import Keychain
from deploy.local.layout import Layout
from deploy.local.settings import LocalSettings
from deploy.local.stack import DatabaseUrls, StackPlan
from runtime.encryption import parse_keys

PORTS = {
    "ingest_port": 1,
    "api_port": 2,
    "chart_site_port": 3,
    "kafka_port": 4,
    "sink_operations_port": 5,
    "process_overflow_operations_port": 6,
}
ADDRESSES = Addresses("127.0.0.1", "127.0.0.1", PORTS)


def plan(**values: str) -> StackPlan:
    settings = LocalSettings.model_validate(
        {name.lower(): value for name, value in values.items() if name.lower() in LocalSettings.model_fields}
    )
    return StackPlan(Layout(Path("/clone")), values, settings, ADDRESSES, Keychain(), ("alerts",))


def test_roles_are_tied_to_the_parts_of_this_run() -> None:
    """Every address is the one that was chosen."""
    variables = plan().variables("postgresql://local")
    assert variables["KAFKA_BOOTSTRAP"] == "127.0.0.1:4"
    assert variables["KAFKA_TOPIC_PROFILE"] == "local"
    assert variables["KAFKA_REPLICATION"] == "1"
    assert variables["DATABASE_URL"] == "postgresql://local"
    assert variables["CHART_ORIGIN"] == "http://127.0.0.1:3"
    assert variables["STORAGE_DIRECTORY"] == "/clone/.local/pictures"
    assert parse_keys(SecretStr(variables["ENCRYPTION_KEYS"]))


def test_a_persons_choices_stand() -> None:
    """Except for the ports: those were chosen with their help already."""
    variables = plan(STORAGE_DIRECTORY="/mnt/pictures", API_PORT="0").variables("postgresql://local")
    assert variables["STORAGE_DIRECTORY"] == "/mnt/pictures"
    assert variables["API_PORT"] == "2"


def test_an_empty_choice_is_none() -> None:
    """An empty variable counts as unset everywhere."""
    assert plan(STORAGE_DIRECTORY="").variables("x")["STORAGE_DIRECTORY"] == "/clone/.local/pictures"


def test_real_brokers_keep_their_security_and_replication() -> None:
    """Nothing local is imposed on them, and other commands find them as well."""
    real = plan(KAFKA_BOOTSTRAP="broker:9092", KAFKA_SECURITY_PROTOCOL="SASL_SSL", KAFKA_SASL_PASSWORD="p")
    variables = real.variables("x")
    assert variables["KAFKA_BOOTSTRAP"] == "broker:9092"
    assert variables["KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL"
    assert variables["KAFKA_SASL_PASSWORD"] == "p"
    assert "KAFKA_REPLICATION" not in variables


def test_a_role_gets_its_own_operations_port_and_no_file() -> None:
    """No secret is an argument; the file of the running stack is not read by its own roles."""
    role = plan(HOME="/home/x").role("sink", {"API_LINK_SECRET": "secret"})
    program = role.program()
    assert program.arguments == ("alerts", "sink")
    assert program.environment["OPERATIONS_PORT"] == "5"
    assert program.environment["ALERTS_ENV_FILE"] == ""
    assert program.environment["HOME"] == "/home/x"
    assert role.url == "http://127.0.0.1:5/ready"


def test_the_overflow_lane_is_a_process_of_its_own() -> None:
    """A role's second process has its own name, log, port and place in its group, and says its lane."""
    role = plan().role("process-overflow", {})
    program = role.program()
    assert program.arguments == ("alerts", "process", "--lane", "overflow")
    assert (role.name, program.log.name, role.url) == (
        "process-overflow",
        "process-overflow.log",
        "http://127.0.0.1:6/ready",
    )
    assert program.environment["KAFKA_GROUP_INSTANCE_ID"] == "local-process-overflow"


def test_the_chart_site_gets_no_secret_of_others() -> None:
    """It needs its own only."""
    environment = plan().chart_site().program().environment
    assert "CHART_SITE_SECRET" in environment
    assert not {"DATABASE_URL", "ENCRYPTION_KEYS", "API_LINK_SECRET"} & set(environment)


def test_a_role_is_to_the_database_only_who_it_is_told_to_be() -> None:
    """The owner's URL and those of other roles do not reach it by way of a person's environment."""
    owner, other = "postgresql://owner@db/alerts", "postgresql://sink@db/alerts"
    chosen = plan(DATABASE_URL=owner, SINK_DATABASE_URL=other, SINK_OWNER_URL=owner)
    told = chosen.role("sink", {"DATABASE_URL": "told"}).program().environment
    for environment in (told, chosen.chart_site().program().environment):
        assert not {owner, other} & set(environment.values())
    assert told["DATABASE_URL"] == "told"


def test_only_the_sink_also_knows_the_owner() -> None:
    """Retention is its work; a process without use for the database gets no URL at all."""
    database = DatabaseUrls("owner", {"sink": "for the sink", "api": "for the api"})
    assert database.variables("sink") == {"DATABASE_URL": "for the sink", "SINK_OWNER_URL": "owner"}
    assert database.variables("api") == {"DATABASE_URL": "for the api"}
    assert database.variables("ingest") == {"DATABASE_URL": ""}


def test_only_on_its_own_broker_a_role_is_a_named_member() -> None:
    """Two local stacks on one real broker would oust each other."""
    named = plan().role("sink", {}).program().environment
    nameless = plan(KAFKA_BOOTSTRAP="broker:9092").role("sink", {}).program().environment
    assert named["KAFKA_GROUP_INSTANCE_ID"] == "local-sink"
    assert "KAFKA_GROUP_INSTANCE_ID" not in nameless
