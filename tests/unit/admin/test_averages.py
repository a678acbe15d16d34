"""The two-sample averages, with a clock in the test's hand."""

from __future__ import annotations

from pooler.admin.averages import COUNTERS, NO_COUNTERS, StatsSampler, average, stats_line, total
from tests.unit.admin.fakes import counters


def test_rates_are_per_second_and_times_per_event() -> None:
    now = counters(
        "app", "alice", query_count=30, xact_count=10, server_assignment_count=5, bytes_received=2000,
        query_time=600, xact_time=900, wait_time=50, client_login_count=9,
    )  # fmt: skip
    averages = average(now, NO_COUNTERS, 2.0)
    assert averages["query_count"] == 15
    assert averages["xact_count"] == 5
    assert averages["bytes_received"] == 1000
    assert averages["client_login_count"] == 4
    assert (averages["query_time"], averages["xact_time"], averages["wait_time"]) == (20, 90, 10)


def test_nothing_happened() -> None:
    assert average(NO_COUNTERS, NO_COUNTERS, 60.0) == NO_COUNTERS


def test_no_time_has_passed() -> None:
    now = dict.fromkeys(COUNTERS, 5)
    assert average(now, NO_COUNTERS, 0.0) == NO_COUNTERS
    assert average(now, NO_COUNTERS, -1.0) == NO_COUNTERS


def test_a_reused_pool_never_gives_a_negative_average() -> None:
    before = dict.fromkeys(COUNTERS, 1000)
    assert average(dict.fromkeys(COUNTERS, 3), before, 1.0) == NO_COUNTERS


def test_big_counters_stay_exact() -> None:
    huge = dict.fromkeys(COUNTERS, 2**63)
    assert total([huge, huge])["query_time"] == 2**64


def test_window_is_one_to_two_periods() -> None:
    sampler = StatsSampler(0.0, {})
    assert sampler.window_s(0.0) == 1.0
    sampler.tick(60.0, {0: counters("app", "alice", query_count=100)})
    assert sampler.window_s(60.0) == 60.0
    assert sampler.earlier(0)["query_count"] == 0
    sampler.tick(120.0, {0: counters("app", "alice", query_count=300)})
    assert sampler.window_s(150.0) == 90.0
    assert sampler.earlier(0)["query_count"] == 100
    assert sampler.earlier(7) == NO_COUNTERS


def test_the_sample_is_a_copy() -> None:
    sampler = StatsSampler(0.0, {})
    live = dict(counters("app", "alice", query_count=1))
    sampler.tick(60.0, {0: live})
    live["query_count"] = 50
    sampler.tick(120.0, {0: live})
    assert sampler.earlier(0)["query_count"] == 1


def test_log_line_is_about_the_period_that_ended() -> None:
    sampler = StatsSampler(0.0, {})
    first = counters("app", "alice", query_count=120, xact_count=60, bytes_received=600, bytes_sent=1200)
    assert sampler.tick(60.0, {0: first}) == (
        "stats: 1 xacts/s, 2 queries/s, 0 client parses/s, 0 server parses/s, 0 binds/s, "
        "in 10 B/s, out 20 B/s, xact 0 us, query 0 us, wait 0 us"
    )
    again = sampler.tick(120.0, {0: first})
    assert again == stats_line(NO_COUNTERS)
    assert again.startswith("stats: 0 xacts/s, 0 queries/s")


def test_a_sampler_that_starts_late_does_not_take_the_past_for_one_second() -> None:
    past = counters("app", "alice", query_count=10**9)
    sampler = StatsSampler(5000.0, {0: past})
    assert sampler.earlier(0)["query_count"] == 10**9
    assert sampler.tick(5060.0, {0: past}) == stats_line(NO_COUNTERS)
