"""From a request to an answer, on a real port, with the fate of each record scripted."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import pytest
import pytest_asyncio
import structlog
from msgspec import structs

from ingest import app
from ingest.certificate import TRADINGVIEW_SUBJECT
from ingest.fate import Fate
from ingest.settings import IngestSection
from ingest.webhook import ANSWER_DEADLINE_S, MAX_BODY_BYTES, raw_message
from runtime.backlog import Measurement
from runtime.ids import received_at_of
from schemas.headers import WebhookMetadata, read_webhook_metadata
from schemas.plans import PLAN_TERMS, Plan
from schemas.topics import WEBHOOKS_RAW
from tests.support.http import exchange, post, read_answer, request
from tests.support.ingress import Ingress, scripted_ingress
from tests.support.tenants import Customer, new_customer


@dataclass(frozen=True)
class Scene:
    ingress: Ingress
    customer: Customer

    async def post(self, body: bytes = b"alert", query: str = "") -> tuple[int, str | None]:
        """Status and signal id of the answer."""
        answer = await post(self.ingress.port, self.customer.path + query, body)
        return answer.status, answer.json.get("signal_id")


@pytest_asyncio.fixture
async def scene() -> AsyncIterator[Scene]:
    customer = new_customer()
    async with scripted_ingress(read_deadline_s=0.1) as ingress:
        ingress.knows(customer)
        yield Scene(ingress, customer)


@pytest.fixture
def fresh_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logger that no other test has bound, so that its lines can be caught."""
    monkeypatch.setattr(app, "log", structlog.stdlib.get_logger("test"))


async def test_a_record_of_unknown_fate_gets_its_id_back_with_the_resend(scene: Scene) -> None:
    """A 503 and the resend some seconds later are one signal, received when it first came."""
    scene.ingress.delivery.fates = [Fate.UNKNOWN]
    assert await scene.post() == (503, None)
    scene.ingress.clock.move(5)
    status, signal_id = await scene.post()
    assert (status, [signal_id] * 2) == (200, scene.ingress.delivery.ids)
    first, second = (read_webhook_metadata(message.headers) for message in scene.ingress.delivery.delivered)
    assert first.received_at == second.received_at == received_at_of(UUID(signal_id))


@pytest.mark.parametrize(
    ("seconds", "body", "query"), [(3, b"alert", ""), (5, b"other", ""), (5, b"alert", "?a=1")]
)
async def test_another_alert_never_gets_the_id(scene: Scene, seconds: int, body: bytes, query: str) -> None:
    """Sooner than a resend can come, or with another body or query, it is a signal of its own."""
    scene.ingress.delivery.fates = [Fate.UNKNOWN]
    await scene.post()
    scene.ingress.clock.move(seconds)
    await scene.post(body, query)
    first, second = scene.ingress.delivery.ids
    assert first != second


async def test_a_record_that_was_refused_leaves_no_id_behind(scene: Scene) -> None:
    """What was never handed to the producer cannot be written twice."""
    scene.ingress.delivery.fates = [Fate.REFUSED]
    assert await scene.post() == (503, None)
    scene.ingress.clock.move(5)
    await scene.post()
    first, second = scene.ingress.delivery.ids
    assert first != second


@pytest.mark.parametrize("second_fate", [Fate.REFUSED, Fate.UNKNOWN])
async def test_the_id_outlives_a_resend_that_fails_too(scene: Scene, second_fate: Fate) -> None:
    """Up to three resends may fail, each in its own way: the first send may still be written."""
    scene.ingress.delivery.fates = [Fate.UNKNOWN, second_fate]
    for _ in range(3):
        await scene.post()
        scene.ingress.clock.move(5)
    assert len(set(scene.ingress.delivery.ids)) == 1


async def test_a_503_asks_to_come_again(scene: Scene) -> None:
    """The answer carries `Retry-After` and says no more than that."""
    scene.ingress.delivery.fates = [Fate.UNKNOWN]
    answer = await post(scene.ingress.port, scene.customer.path)
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert answer.json == {"success": False, "error": "unavailable"}


@pytest.mark.usefixtures("fresh_log")
async def test_whatever_breaks_inside_is_a_503(scene: Scene) -> None:
    """A bug must not become a 4xx or a 500 that the sender gives up on without a resend."""
    scene.ingress.delivery.error = ZeroDivisionError()
    with structlog.testing.capture_logs() as lines:
        assert await scene.post() == (503, None)
    assert [line["event"] for line in lines] == ["webhook_failed"]


async def test_the_deadline_covers_the_question_about_the_token_too(scene: Scene) -> None:
    """A tenant learned of late leaves only the rest of the deadline for the ack."""
    newcomer = new_customer()
    scene.ingress.directory.arriving = [newcomer]
    scene.ingress.directory.answers_after_s = 1.0
    answer = await post(scene.ingress.port, newcomer.path)
    assert answer.status == 200
    deadline_s = scene.ingress.context.settings.ack_deadline_s
    [deadlines_s] = scene.ingress.delivery.deadlines_s
    assert deadlines_s == pytest.approx((deadline_s - 1.0, ANSWER_DEADLINE_S - 1.0))


def test_both_deadlines_fit_into_the_senders_patience() -> None:
    """Whatever is slow, the answer is given within 2.5 s: the defaults leave a margin."""
    defaults = IngestSection.model_validate({})
    assert defaults.read_deadline_s + defaults.ack_deadline_s <= 2.3


async def test_an_unknown_token_is_a_404_only_while_the_directory_is_current(scene: Scene) -> None:
    """A 404 loses the alert for good, so in doubt the sender is asked to come again."""
    path = new_customer().path
    assert (await post(scene.ingress.port, path)).status == 404
    scene.ingress.directory.current = False
    answer = await post(scene.ingress.port, path)
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert (await post(scene.ingress.port, "/elsewhere")).status == 404


async def test_a_known_token_needs_no_question(scene: Scene) -> None:
    """Alerts of known tenants are accepted while nobody can say whether the directory is current."""
    scene.ingress.directory.current = False
    assert (await scene.post())[0] == 200


async def test_a_deleted_tenant_is_unknown(scene: Scene) -> None:
    """The token of a deleted tenant answers like one that never was."""
    unknown = await post(scene.ingress.port, new_customer().path)
    scene.ingress.knows(scene.customer.with_changes(deleted=True))
    assert (await post(scene.ingress.port, scene.customer.path)).undated == unknown.undated
    assert scene.ingress.delivery.delivered == []


async def test_only_tokens_in_force_are_accepted(scene: Scene) -> None:
    """A rotation takes effect with its record: the old token is unknown once its hash is gone."""
    successor = new_customer()
    scene.ingress.knows(scene.customer.with_changes(token_hashes=successor.tenant.token_hashes))
    assert (await post(scene.ingress.port, scene.customer.path)).status == 404
    assert (await post(scene.ingress.port, successor.path)).status == 200


async def test_a_body_that_does_not_come_is_answered(scene: Scene) -> None:
    """A stalled sender gets a 503 when its time is over, and nothing of it is kept."""
    stalled = request("POST", scene.customer.path, Content_Length="10") + b"half"
    answer = await exchange(scene.ingress.port, stalled)
    assert (answer.status, answer.json["error"]) == (503, "body_too_slow")
    assert scene.ingress.delivery.delivered == []


@pytest.mark.usefixtures("fresh_log")
@pytest.mark.parametrize(
    ("framing", "rest"), [("Content-Length: 10", b"half"), ("Transfer-Encoding: chunked", b"NO LENGTH\r\n")]
)
async def test_a_body_cut_short_is_neither_kept_nor_logged(framing: str, rest: bytes) -> None:
    """A sender that hangs up, or a body with broken framing, is no fault of ours and part of no log."""
    customer = new_customer()
    head = request("POST", customer.path, Expect="100-continue").replace(
        b"Content-Length: 0", framing.encode()
    )
    with structlog.testing.capture_logs() as lines:
        async with scripted_ingress(read_deadline_s=30) as ingress:
            ingress.knows(customer)
            reader, writer = await asyncio.open_connection("127.0.0.1", ingress.port)
            writer.write(head)
            assert (await read_answer(reader)).status == 100
            writer.write(rest)
            writer.close()
            await writer.wait_closed()
    assert (lines, ingress.delivery.delivered) == ([], [])


@pytest.mark.parametrize("query", ["?chart=" + "x" * 9000, "?chart=\xf1"])
async def test_a_request_line_that_cannot_be_read_is_not_quoted(scene: Scene, query: str) -> None:
    """The error page of the HTTP library would show the token."""
    answer = await post(scene.ingress.port, scene.customer.path + query)
    assert answer.status == 400
    assert scene.customer.token.encode() not in answer.body


async def test_the_answer_tells_whether_and_when_a_picture_comes(scene: Scene) -> None:
    """The wait is what is queued at this plan or above, at the measured rate."""
    waiting = dict.fromkeys(Plan, 0) | {Plan.PREMIUM: 9, Plan.PRO: 100}
    measurement = Measurement(dict.fromkeys(Plan, 0), waiting, workers=1, at_s=0)
    scene.ingress.context.backlog.observe(measurement)
    answer = await post(scene.ingress.port, scene.customer.path)
    assert (answer.json["screenshot_status"], answer.json["estimated_wait"]) == ("pending", 5)
    scene.ingress.knows(scene.customer.with_changes(captures_enabled=False))
    answer = await post(scene.ingress.port, scene.customer.path)
    assert (answer.json["screenshot_status"], answer.json["estimated_wait"]) == ("skipped", 0)


async def test_health_shows_the_measured_backlog(scene: Scene) -> None:
    """All queues, the live workers and the seconds since the start; old figures are called so."""
    unmeasured = await exchange(scene.ingress.port, request("GET", "/health"))
    assert (unmeasured.status, unmeasured.json["status"]) == (200, "degraded")
    scene.ingress.clock.move(7.9)
    now_s = scene.ingress.clock.monotonic_s()
    measurement = Measurement(dict.fromkeys(Plan, 1), dict.fromkeys(Plan, 3), workers=2, at_s=now_s)
    scene.ingress.context.backlog.observe(measurement)
    measured = await exchange(scene.ingress.port, request("GET", "/health"))
    assert measured.json == {"status": "ok", "queue_length": 8, "active_workers": 2, "uptime": 7}
    scene.ingress.clock.move(60)
    assert (await exchange(scene.ingress.port, request("GET", "/health"))).json["status"] == "degraded"


async def test_answers_are_counted_by_status(scene: Scene) -> None:
    """The outcome of every webhook is in the metrics, never its token."""
    await scene.post()
    await post(scene.ingress.port, new_customer().path)
    exposition = scene.ingress.metrics.exposition().decode()
    assert 'alerts_webhook_seconds_count{outcome="200"} 1.0' in exposition
    assert 'alerts_webhook_seconds_count{outcome="404"} 1.0' in exposition
    assert scene.customer.token not in exposition


async def test_a_body_announced_too_large_is_not_waited_for(scene: Scene) -> None:
    """The length that was announced is enough for the 413."""
    announced = request("POST", scene.customer.path, Content_Length=str(MAX_BODY_BYTES + 1))
    answer = await exchange(scene.ingress.port, announced)
    assert (answer.status, answer.json["error"]) == (413, "body_too_large")


def test_a_raw_record_carries_everything_but_the_token() -> None:
    """The body is the value, the tenant the key, and the headers say the rest in CloudEvents' words."""
    customer = new_customer()
    signal_id = UUID("019c2b00-5d80-7001-8000-000000000001")
    metadata = WebhookMetadata(
        signal_id, received_at_of(signal_id), "192.0.2.7", "agent", "text/plain", "chart=x", 3, 4
    )
    message = raw_message(customer.tenant, metadata, b"\x00\xffab", 0xABC, WEBHOOKS_RAW.name)
    headers = dict(message.headers)
    assert (message.topic, message.key, message.value) == ("webhooks.raw", customer.key, b"\x00\xffab")
    assert read_webhook_metadata(message.headers) == metadata
    assert headers["ce_id"] == headers["signal_id"] == str(signal_id).encode()
    assert (headers["ce_type"], headers["ce_source"]) == (b"alerts.webhook", b"/alerts/ingest")
    assert headers["ce_time"] == headers["received_at"] == b"2026-02-04T23:32:50.176Z"
    assert headers["content-type"] == b"application/octet-stream"
    assert headers["traceparent"] == f"00-{signal_id.hex}-0000000000000abc-01".encode()
    assert customer.token not in repr(message)


async def test_what_the_spool_holds_is_accepted(scene: Scene) -> None:
    """A sync to the local disk is as good as Kafka's ack."""
    scene.ingress.delivery.fates = [Fate.SPOOLED]
    assert await scene.post() == (200, *scene.ingress.delivery.ids)


async def test_a_tenant_above_its_rate_is_accepted_in_the_overflow_lane(scene: Scene) -> None:
    """Its burst goes through the main lane; others are not touched."""
    other = new_customer(Plan.FREE)
    free = new_customer(Plan.FREE)
    for customer in (free, other):
        scene.ingress.knows(customer)
    burst = PLAN_TERMS[Plan.FREE].burst
    answers = [await post(scene.ingress.port, free.path, b"alert") for _ in range(burst + 2)]
    assert {answer.status for answer in answers} == {200}
    assert (await post(scene.ingress.port, other.path, b"alert")).status == 200
    topics = [message.topic for message in scene.ingress.delivery.delivered]
    assert topics == ["webhooks.raw"] * burst + ["webhooks.overflow"] * 2 + ["webhooks.raw"]


async def test_only_beyond_the_ceiling_a_tenant_is_refused() -> None:
    """The one 429 there is; it is counted for the audit with its tenant."""
    customer = new_customer()
    async with scripted_ingress(ceiling_per_s=1) as ingress:
        ingress.knows(customer)
        statuses = [(await post(ingress.port, customer.path, b"alert")).status for _ in range(62)]
        assert statuses == [200] * 60 + [429] * 2
        [refused] = ingress.context.refusals.take()
    assert (refused.reason, refused.status, refused.count) == ("too_many_alerts", 429, 2)
    assert refused.user_id == customer.tenant.user_id


@pytest.mark.parametrize(
    ("everybodys", "own", "status"),
    [
        ("", [], 200),
        ("tradingview", [], 403),
        ("127.0.0.0/8", ["::1"], 403),
        ("127.0.0.1", ["127.0.0.1"], 200),
    ],
)
async def test_both_address_lists_must_allow_the_sender(everybodys: str, own: list[str], status: int) -> None:
    """The operator's and the tenant's own; an empty one allows anybody."""
    customer = new_customer()
    async with scripted_ingress(allowed_addresses=everybodys) as ingress:
        ingress.directory.directory.apply(structs.replace(customer.tenant, allowed_addresses=own))
        assert (await post(ingress.port, customer.path, b"alert")).status == status
        assert len(ingress.delivery.delivered) == (1 if status == 200 else 0)


@pytest.mark.parametrize(("trusted", "address"), [("", "127.0.0.1"), ("127.0.0.1", "203.0.113.9")])
async def test_the_clients_address_is_known_through_trusted_proxies_only(trusted: str, address: str) -> None:
    """Anybody may send the header."""
    customer = new_customer()
    async with scripted_ingress(trusted_proxies=trusted) as ingress:
        ingress.knows(customer)
        await post(ingress.port, customer.path, b"alert", X_Forwarded_For="198.51.100.7, 203.0.113.9")
        [message] = ingress.delivery.delivered
        assert read_webhook_metadata(message.headers).client_address == address
        await post(ingress.port, "/webhook/u/nobody", X_Forwarded_For="203.0.113.9")
        [refused] = ingress.context.refusals.take()
        assert (refused.client_address, refused.status) == (address, 404)


@pytest.mark.parametrize(
    ("trusted", "verified", "status"),
    [("127.0.0.1", "SUCCESS", 200), ("127.0.0.1", "NONE", 403), ("", "SUCCESS", 403)],
)
async def test_a_certificate_is_believed_from_trusted_proxies_only(
    trusted: str, verified: str, status: int
) -> None:
    """When one is required."""
    customer = new_customer()
    async with scripted_ingress(trusted_proxies=trusted, certificate_required=True) as ingress:
        ingress.knows(customer)
        headers = {"X_SSL_Client_Verify": verified, "X_SSL_Client_S_DN": TRADINGVIEW_SUBJECT}
        assert (await post(ingress.port, customer.path, b"alert", **headers)).status == status


async def test_a_clock_that_cannot_be_right_mints_no_ids(scene: Scene) -> None:
    """503 until it has proved itself: the sender comes again."""
    assert (await scene.post())[0] == 200
    scene.ingress.clock.set_unix_ms(scene.ingress.clock.unix_ms() - 60_000)
    assert (await scene.post())[0] == 503
    assert len(scene.ingress.delivery.delivered) == 1


async def test_no_call_for_health_is_audited(scene: Scene) -> None:
    """Only what is refused is, each unknown path included."""
    for path in ("/health", "/favicon.ico", scene.customer.path):
        await exchange(scene.ingress.port, request("GET", path))
    refused = {(calls.reason, calls.status) for calls in scene.ingress.context.refusals.take()}
    assert refused == {("not_found", 404), ("method_not_allowed", 405)}
