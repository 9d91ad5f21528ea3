from datetime import timedelta

from capture.job import Job, Spent
from capture.scheduler import Scheduler
from runtime.clock import utc_from_ms
from schemas.plans import Plan
from tests.support.capture_parts import capture_request, user_id
from tests.support.clock import START_MS, FakeClock


def tickers(jobs: list[Job[int]]) -> list[str]:
    return [job.key.ticker for job in jobs]


def drain(scheduler: Scheduler[int]) -> list[Job[int]]:
    """Grant and finish one after the other until nothing is left."""
    jobs = []
    while (job := scheduler.next()) is not None:
        jobs.append(job)
        scheduler.finish(job)
    return jobs


def test_users_of_a_plan_take_turns() -> None:
    """The second user's only request waits for one grant, not for the first user's whole backlog."""
    scheduler: Scheduler[int] = Scheduler(1, FakeClock())
    for number in range(300):
        scheduler.admit(capture_request(number), number)
    scheduler.admit(capture_request(999, user_id=user_id(2)), 999)
    assert tickers(drain(scheduler))[:3] == ["BINANCE:SYM0", "BINANCE:SYM999", "BINANCE:SYM1"]


def test_a_busy_user_is_stepped_over() -> None:
    """While a user's capture runs, free slots go to others, of lower plans too."""
    scheduler: Scheduler[int] = Scheduler(3, FakeClock())
    scheduler.admit(capture_request(1, plan=Plan.PREMIUM), 1)
    scheduler.admit(capture_request(2, plan=Plan.PREMIUM), 2)
    scheduler.admit(capture_request(3, plan=Plan.FREE, user_id=user_id(2)), 3)
    granted = [job for job in (scheduler.next() for _ in range(3)) if job is not None]
    assert tickers(granted) == ["BINANCE:SYM1", "BINANCE:SYM3"]


def test_every_tenth_grant_goes_to_the_oldest_below_premium() -> None:
    """A free user is served in the midst of a premium backlog, and a premium one never waits for age."""
    scheduler: Scheduler[int] = Scheduler(1, FakeClock())
    scheduler.admit(capture_request(100, plan=Plan.FREE, user_id=user_id(2)), 100)
    scheduler.admit(capture_request(101, plan=Plan.PRO, user_id=user_id(3)), 101)
    for number in range(30):
        scheduler.admit(capture_request(number, plan=Plan.PREMIUM), number)
    order = tickers(drain(scheduler))
    assert order.index("BINANCE:SYM100") == 9
    assert order.index("BINANCE:SYM101") == 19


def test_a_backlog_served_while_nobody_higher_came_is_owed_nothing() -> None:
    """However many of its own were granted, a premium request that comes then is the next."""
    for served in range(1, 25):
        scheduler: Scheduler[int] = Scheduler(1, FakeClock())
        for number in range(30):
            scheduler.admit(capture_request(number, plan=Plan.FREE, user_id=user_id(number + 2)), number)
        for _grant in range(served):
            job = scheduler.next()
            assert job is not None
            scheduler.finish(job)
        scheduler.admit(capture_request(100, plan=Plan.PREMIUM), 100)
        assert tickers(drain(scheduler))[0] == "BINANCE:SYM100"


def test_equal_requests_share_a_job() -> None:
    """Signals that want the same picture while one waits are served together."""
    scheduler: Scheduler[int] = Scheduler(1, FakeClock())
    for number in (1, 2, 3):
        scheduler.admit(capture_request(number, ticker="A"), number)
    scheduler.admit(capture_request(4, ticker="A", interval="60"), 4)
    jobs = drain(scheduler)
    assert [[waiting.ticket for waiting in job.waiting] for job in jobs] == [[1, 2, 3], [4]]


def test_a_granted_job_takes_nobody_in() -> None:
    """A picture may be older than a request that comes while it is taken: that one gets its own."""
    scheduler: Scheduler[int] = Scheduler(1, FakeClock())
    scheduler.admit(capture_request(1, ticker="A"), 1)
    first = scheduler.next()
    scheduler.admit(capture_request(2, ticker="A"), 2)
    assert first is not None
    assert len(first.waiting) == 1
    scheduler.finish(first)
    assert [waiting.ticket for job in drain(scheduler) for waiting in job.waiting] == [2]


def test_a_retry_comes_back_after_its_delay_and_before_later_ones() -> None:
    """The slot is free meanwhile."""
    clock = FakeClock()
    scheduler: Scheduler[int] = Scheduler(1, clock)
    for number in (1, 2, 3):
        scheduler.admit(capture_request(number), number)
    first = scheduler.next()
    assert first is not None
    scheduler.retry(first, 2.0)
    second = scheduler.next()
    assert second is not None
    scheduler.finish(second)
    assert scheduler.wake_in_s() == 2.0
    clock.move(2.0)
    assert tickers([second, *drain(scheduler)]) == ["BINANCE:SYM2", "BINANCE:SYM1", "BINANCE:SYM3"]


def test_a_late_request_is_handed_out_instead_of_granted() -> None:
    """Those that share its job and have time left are still served."""
    clock = FakeClock()
    scheduler: Scheduler[int] = Scheduler(1, clock)
    soon = utc_from_ms(START_MS) + timedelta(seconds=5)
    scheduler.admit(capture_request(1, ticker="A", capture_by=soon), 1)
    scheduler.admit(capture_request(2, ticker="A"), 2)
    assert scheduler.wake_in_s() == 5.0
    clock.move(5.0)
    assert [waiting.ticket for waiting in scheduler.expire()] == [1]
    assert scheduler.expire() == []
    assert [waiting.ticket for job in drain(scheduler) for waiting in job.waiting] == [2]


def test_a_finished_request_never_expires() -> None:
    """Its deadline may lie ahead of its end."""
    clock = FakeClock()
    scheduler: Scheduler[int] = Scheduler(1, clock)
    scheduler.admit(capture_request(1), 1)
    drain(scheduler)
    clock.move(3600)
    assert scheduler.expire() == []
    assert scheduler.wake_in_s() is None


def test_a_job_that_is_put_back_keeps_its_place() -> None:
    """The grant did not count: neither the user's turn nor the order of the requests has changed."""
    scheduler: Scheduler[int] = Scheduler(1, FakeClock())
    for number in (1, 2, 3):
        scheduler.admit(capture_request(number, user_id=user_id(number % 2)), number)
    first = scheduler.next()
    assert first is not None
    assert scheduler.occupy(first, b"A")
    scheduler.put_back(first)
    assert tickers(drain(scheduler)) == ["BINANCE:SYM1", "BINANCE:SYM2", "BINANCE:SYM3"]


def test_a_turn_that_could_not_be_used_is_not_lost() -> None:
    """When the account of the oldest waiter below premium is busy, the next one has the turn."""
    scheduler: Scheduler[int] = Scheduler(1, FakeClock())
    for number in range(30):
        scheduler.admit(capture_request(number, plan=Plan.PREMIUM, user_id=user_id(number)), number)
    for number in (100, 101):
        scheduler.admit(capture_request(number, plan=Plan.FREE, user_id=user_id(number)), number)
    granted = [job for job in (scheduler.next() for _ in range(1)) if job is not None]
    while granted[-1].key.plan is Plan.PREMIUM:
        scheduler.finish(granted[-1])
        granted += [job for job in (scheduler.next(),) if job is not None]
    assert len(granted) == 10
    assert scheduler.occupy(granted[-1], b"A")
    scheduler.rest(b"A", 60)
    scheduler.put_back(granted[-1])
    other = scheduler.next()
    assert other is not None
    assert other.key.ticker == "BINANCE:SYM101"


def test_an_account_that_rests_is_stepped_over() -> None:
    """For all users who are known to share it, and no longer than it rests."""
    clock = FakeClock()
    scheduler: Scheduler[int] = Scheduler(1, clock)
    for user in (1, 2, 3):
        for number in (1, 2):
            scheduler.admit(capture_request(10 * user + number, user_id=user_id(user)), 10 * user + number)
    for account in (b"A", b"A"):
        job = scheduler.next()
        assert job is not None
        assert scheduler.occupy(job, account)
        assert scheduler.wants(account)
        scheduler.finish(job)
    scheduler.rest(b"A", 5.0)
    assert tickers(drain(scheduler)) == ["BINANCE:SYM31", "BINANCE:SYM32"]
    assert scheduler.wake_in_s() == 5.0
    clock.move(5.0)
    assert tickers(drain(scheduler)) == ["BINANCE:SYM12", "BINANCE:SYM22"]
    assert not scheduler.wants(b"A")


def test_suspects_run_one_at_a_time() -> None:
    """What may have ended a worker takes no other suspect with it."""
    scheduler: Scheduler[int] = Scheduler(3, FakeClock())
    for number in (1, 2):
        scheduler.admit(capture_request(number, user_id=user_id(number)), number, Spent(tries=1))
    scheduler.admit(capture_request(3, user_id=user_id(3)), 3)
    granted = [job for job in (scheduler.next() for _ in range(3)) if job is not None]
    assert tickers(granted) == ["BINANCE:SYM1", "BINANCE:SYM3"]
    scheduler.finish(granted[0])
    assert [job.key.ticker for job in (scheduler.next(),) if job is not None] == ["BINANCE:SYM2"]


def test_equal_requests_with_different_tries_behind_them_do_not_share() -> None:
    """Each has all the tries that are left to it."""
    scheduler: Scheduler[int] = Scheduler(1, FakeClock())
    for number, spent in enumerate((Spent(), Spent(2, 1), Spent(2, 1), Spent())):
        scheduler.admit(capture_request(number, ticker="A"), number, spent)
    jobs = drain(scheduler)
    assert [[waiting.ticket for waiting in job.waiting] for job in jobs] == [[0, 3], [1, 2]]
    assert [(job.tries, job.reruns) for job in jobs] == [(0, 0), (2, 1)]
