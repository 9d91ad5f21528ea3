import contextlib
import socket
from collections.abc import Iterator

import pytest

from deploy.local.addresses import Addresses, choose_addresses
from deploy.local.ports import Ports, PortTakenError
from deploy.local.settings import INSTANCES, LocalSettings


@pytest.fixture
def ports() -> Iterator[Ports]:
    with contextlib.closing(Ports()) as ports:
        yield ports


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def settings(**chosen: object) -> LocalSettings:
    return LocalSettings.model_validate(chosen)


def test_everything_gets_a_port_of_its_own(ports: Ports) -> None:
    """Services, roles and operations ports."""
    addresses = choose_addresses(settings(), ports)
    assert len(set(addresses.ports.values())) == 6 + len(INSTANCES)


@pytest.mark.parametrize("instance", INSTANCES)
def test_a_process_answers_on_the_port_that_a_person_chose(ports: Ports, instance: str) -> None:
    """Each one's variable is its name's, also that of a second process of a role."""
    port = free_port()
    variable = f"{instance}_operations_port".replace("-", "_")
    assert choose_addresses(settings(**{variable: port}), ports).operations_port(instance) == port


def test_real_services_need_no_port(ports: Ports) -> None:
    """What is not started does not occupy one."""
    real = settings(
        kafka_bootstrap="broker:9092", database_url="postgresql://db/alerts", chart_origin="https://charts"
    )
    addresses = choose_addresses(real, ports)
    assert not {"kafka_port", "kafka_controller_port", "postgres_port", "chart_site_port"} & set(
        addresses.ports
    )


def test_a_choice_is_not_given_to_another_part(ports: Ports) -> None:
    """The search for a free port after a taken default steps over what a person chose."""
    with taken_port_before_a_free_one() as taken:
        addresses = choose_addresses(settings(ingest_port=0, api_port=taken + 1), ports)
    assert addresses.ports["api_port"] == taken + 1


@contextlib.contextmanager
def taken_port_before_a_free_one() -> Iterator[int]:
    """Other tests run beside this one and take ports as well."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port: int = server.getsockname()[1]
            if is_free(port + 1):
                yield port
                return


def is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


def test_the_same_port_twice_is_an_error(ports: Ports) -> None:
    """The second variable is named."""
    port = free_port()
    with pytest.raises(PortTakenError, match="API_PORT"):
        choose_addresses(settings(ingest_port=port, api_port=port), ports)


def test_a_moved_default_is_noted_and_a_choice_is_not(ports: Ports) -> None:
    """A person is told what they could not expect."""
    with contextlib.closing(Ports()) as others:
        choose_addresses(settings(), others)
        addresses = choose_addresses(settings(api_port=free_port()), ports)
    text = "\n".join(addresses.notes)
    assert "port 8080 is taken: INGEST_PORT is " in text or addresses.ports["ingest_port"] != 8080
    assert "API_PORT" not in text


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("alerts.test", "http://alerts.test:80"),
    ],
)
def test_an_origin_can_be_opened(host: str, origin: str) -> None:
    """A wildcard address is for listening only."""
    assert Addresses(host, host, {"ingest_port": 80, "api_port": 80}).api_origin == origin
