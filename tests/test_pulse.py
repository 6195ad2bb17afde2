"""How a process' own commands fare, and what it makes of its own pauses."""

import pytest

from reactor.errors import OutOfMemory, PermissionRefused, Unavailable
from reactor.observation import ClockReading
from reactor.registry.pulse import BETWEEN, FOR_EVER_MS, SILENCE, Expectation, HostClock, Lane, Pulse, UnexpectedAnswer


class Time:
    """A clock that a test turns."""

    def __init__(self) -> None:
        """Begin somewhere."""
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def time() -> Time:
    """A clock."""
    return Time()


@pytest.fixture
def pulse(time: Time) -> Pulse:
    """A pulse by that clock, of a process whose commands worked so far."""
    pulse = Pulse(time)
    for lane in Lane:
        pulse.worked(lane)
    return pulse


def test_who_has_no_trouble_doubts_nothing(pulse: Pulse) -> None:
    """And tells nothing."""
    assert (pulse.doubted, pulse.ailing, pulse.failing_ms) == (False, False, None)


@pytest.mark.parametrize("error", [Unavailable("gone"), PermissionRefused("NOAUTH")])
def test_a_failure_is_doubted_until_a_witness_was_told(pulse: Pulse, time: Time, error: Unavailable) -> None:
    """Also when commands work again meanwhile: what happened in between nobody has looked at."""
    time.now += 1
    with pytest.raises(Unavailable), pulse.lane(Lane.WRITES):
        raise error
    time.now += 60
    with pulse.lane(Lane.WRITES):
        pass

    assert (pulse.doubted, pulse.failing_ms) == (True, 61_000)
    pulse.told(pulse.failures)
    assert (pulse.doubted, pulse.failing_ms) == (False, None)


def test_what_fails_while_a_witness_writes_is_for_the_next_one(pulse: Pulse, time: Time) -> None:
    """He looked before; what he wrote down does not hold it."""
    pulse.failed(Lane.WRITES, 1)
    looked = pulse.failures
    time.now += 5
    pulse.failed(Lane.PROBE, 4)
    pulse.told(looked)

    assert (pulse.doubted, pulse.failures) == (True, looked + 1)
    pulse.told(pulse.failures)
    assert not pulse.doubted


@pytest.mark.parametrize("error", [UnexpectedAnswer("ERR"), OutOfMemory("full")])
def test_an_error_about_one_command_is_no_outage(pulse: Pulse, error: Unavailable) -> None:
    """A full Redis takes heartbeats; a script that fails on one record works on the next."""
    with pytest.raises(Unavailable), pulse.lane(Lane.WRITES):
        raise error

    assert not pulse.doubted


def test_a_pause_of_ours_is_no_outage_of_redis(pulse: Pulse, time: Time) -> None:
    """SIGSTOP for an hour in the middle of a command, which fails when we go on: seconds are counted, not the hour."""

    def command() -> None:
        with pulse.lane(Lane.WRITES):
            time.now += 3600
            raise Unavailable

    with pytest.raises(Unavailable):
        command()

    assert pulse.failing_ms == round((SILENCE + BETWEEN) * 1000)


def test_who_never_saw_redis_work_cannot_say_since_when(time: Time) -> None:
    """What stands in Redis will."""
    pulse = Pulse(time)
    pulse.failed(Lane.WRITES, 1)

    assert pulse.failing_ms == FOR_EVER_MS


def test_plain_writes_that_fail_for_lack_of_memory_go_on_failing(pulse: Pulse, time: Time) -> None:
    """Scripts work all the while, so verdicts are given; the time is told as long as it lasts, and once more after."""
    time.now += 1
    with pytest.raises(OutOfMemory), pulse.lane(Lane.CANARY):
        raise OutOfMemory
    time.now += 9
    assert (pulse.doubted, pulse.ailing, pulse.still_failing, pulse.failing_ms) == (False, True, True, 10_000)
    pulse.told(pulse.failures)
    time.now += 5
    assert (pulse.ailing, pulse.failing_ms) == (True, 15_000)
    pulse.worked(Lane.CANARY)
    assert (pulse.ailing, pulse.still_failing) == (True, False)
    pulse.told(pulse.failures)
    assert not pulse.ailing


def test_two_outages_in_a_row_are_two_even_where_no_plain_write_was_tried_between_them(
    pulse: Pulse, time: Time
) -> None:
    """Found by simulation: the second went by the name of the first, so it gave nobody a grace."""
    time.now += 10
    pulse.failed(Lane.WRITES, 8.0)
    pulse.failed(Lane.CANARY, 8.0)
    assert not pulse.still_failing
    pulse.worked(Lane.WRITES)
    pulse.told(pulse.failures)
    assert (pulse.ailing, pulse.still_failing) == (False, False)

    time.now += 2
    pulse.failed(Lane.CANARY, 0.1)
    assert (pulse.ailing, pulse.doubted, pulse.still_failing) == (True, False, True)


def test_the_hosts_clock_goes_on_and_has_a_name() -> None:
    """The same name for every process of one boot, where the host gives one."""
    one, other = HostClock(), HostClock()

    assert one.boot
    assert one.now_ms() <= other.now_ms()


def test_redis_time_is_expected_from_the_last_reading() -> None:
    """With what the answer took and honest clocks drift as the slack."""
    clock = HostClock()
    expectation = Expectation(clock)
    assert expectation.now() == (0, 0)
    here = clock.now_ms()
    reading = ClockReading(redis_ms=5_000_000, asked_ms=here - 10, told_ms=here, boot="b")
    expectation.note(reading)
    expected, slack = expectation.now()

    assert 5_000_005 <= expected <= 5_000_005 + clock.now_ms() - here
    assert slack >= 6
    far = ClockReading(redis_ms=5_002_100, asked_ms=here, told_ms=here, boot="b")
    assert expectation.contradicts(far)
    assert not expectation.contradicts(reading)
