"""How fast each provider may be called: its entry's limits, and its own requests to wait.

Every provider has one gate per process. A live attempt passes it before the budget sets anything aside; a replay does
not. A request to wait (`retry-after`) closes the gate for all threads. After it, the gate lets calls through one after
another: at the pace at which replies came before, and then faster, until the provider refuses a call again.
"""

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

from .. import cassettes
from ..cassettes.forks import in_child, lock_of
from ..config import ProviderConfig
from ..errors import StoppedError
from ._context import holding

__all__ = [
    "Gate",
    "Passage",
    "Rates",
    "Seat",
    "Stop",
    "aside",
    "check_stop",
    "dividing",
    "gate_of",
    "passing",
    "pause",
    "reset",
    "seated",
    "stoppable",
    "wait_alone",
]

MINUTE = 60.0


class Rates(NamedTuple):
    """The limits of a provider; None for no limit.

    Attributes:
        calls: calls at once.
        requests: requests in any 60 seconds.
        tokens: tokens, in and out, in any 60 seconds.
    """

    calls: int | None = None
    requests: int | None = None
    tokens: int | None = None


class Stop:
    """Whether a run has been asked to end.

    Attributes:
        asked: how often. A plain number, because a signal handler must not wait for a lock.
    """

    def __init__(self) -> None:
        self.asked = 0

    def wake(self) -> None:
        """Ends all waits of the run."""
        with _lock:
            gates = list(_gates.values())
        for gate in gates:
            gate.wake()
        with _asleep:
            _asleep.notify_all()


class Seat(Protocol):
    """The place in a run's threads that the calling context has.

    Attributes:
        calling: whether a live attempt is being made.
    """

    calling: bool

    def aside(self) -> AbstractContextManager[None]:
        """Gives the place to another unit while this one waits."""


def pause(condition: threading.Condition, seconds: float | None) -> None:
    """Waits on a condition. Every wait of a live call, at a gate or before another attempt, is made here.

    Args:
        condition: the condition, held by the caller.
        seconds: how long at most; None until it is notified.
    """
    condition.wait(seconds)


@dataclass(eq=False)
class _Sent:
    at: float
    tokens: float
    expired: bool = False


class _Pace:
    """The seconds between two calls of a provider that refused some; 0 if it refused none.

    A reply makes the gap smaller, and a refusal doubles it. For a minute it then stays above the one that was refused.
    """

    def __init__(self) -> None:
        self.gap = 0.0
        self._least, self._refused, self._wait = 0.0, -math.inf, 0.0
        self._replies: deque[float] = deque(maxlen=256)

    def replied(self, now: float) -> None:
        self._replies.append(now)
        if self.gap:
            eased = 0.95 * self.gap
            self.gap = max(eased, self._least) if now < self._refused + MINUTE else eased
            # Less than a millisecond is no pace.
            self.gap = self.gap if self.gap > 0.001 else 0.0

    def refused(self, sent: float, now: float, wait: float) -> None:
        """Goes slower, once for all calls that were in flight together.

        Args:
            sent: when the refused call was sent.
            now: the time of the refusal.
            wait: seconds that the provider holds its calls.
        """
        if sent > self._refused:
            if not self.gap:
                self.gap = wait
            elif self._replies and self._replies[-1] > self._refused:
                self._least, self.gap = 1.1 * self.gap, 2 * self.gap
            self._refused, self._wait = now, 0.0
        self._wait = max(self._wait, wait)
        if not self._least and (lately := sum(now - self._wait <= reply for reply in self._replies)):
            # As many calls as lately had a reply, with some room.
            self.gap = min(self.gap, 1.25 * self._wait / lately)


class Gate:
    """Lets the calls of one provider through as its limits allow; for any number of threads.

    Args:
        now: the time in seconds, from any start.
        wait: waits on a condition for some seconds; None waits until it is notified.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Condition, float | None], object] = pause,
    ) -> None:
        self.limits = Rates()
        self._now, self._wait = now, wait
        self._changed = lock_of(threading.Condition)
        self._in_flight = 0
        # The last 60 seconds. A window, because a bucket that refills allows twice the limit in its first minute.
        self._window: deque[_Sent] = deque()
        self._window_tokens = 0.0
        self._replies, self._mean = 0, 0.0
        self._opens = -math.inf
        self._pace = _Pace()

    def hold(self, seconds: float, sent: float) -> None:
        """Lets no call through for some seconds, and then one after another.

        Args:
            seconds: how long.
            sent: when the call was sent that the provider refused, on the gate's clock.
        """
        with self._changed:
            now = self._now()
            self._opens = max(self._opens, now + seconds)
            self._pace.refused(sent, now, seconds)

    def enter(self, seat: Seat | None = None, *, inner: bool = False, until: float | None = None) -> _Sent:
        """Waits until a call may be made, and counts it.

        Args:
            seat: the place to give up while it waits.
            inner: whether it is a part of a call that was let through, which only a refusal holds up.
            until: when to wait no longer, on the gate's clock; the caller then sends nothing.

        Raises:
            StoppedError: the run was asked to end.
        """
        check_stop()
        with self._changed:
            if self._delay(inner=inner) == 0:
                return self._count(inner=inner)
        with seat.aside() if seat else nullcontext(), self._changed:
            while (wait := min(self._delay(inner=inner), self._left(until))) > 0:
                check_stop()
                self._wait(self._changed, wait if wait < math.inf else None)
            check_stop()
            return self._count(inner=inner)

    def _left(self, until: float | None) -> float:
        return math.inf if until is None else until - self._now()

    def wake(self) -> None:
        """Lets all that wait look again at what they wait for."""
        with self._changed:
            self._changed.notify_all()

    def leave(self, sent: _Sent, tokens: int | None, *, replayed: bool) -> None:
        """Ends a call.

        Args:
            sent: from `enter`.
            tokens: what it used; None if it failed.
            replayed: whether nothing was sent after all.
        """
        with self._changed:
            self._in_flight -= 1
            if tokens is not None and not replayed:
                self._replies += 1
                self._mean += (tokens - self._mean) / self._replies
                self._pace.replied(self._now())
            if not sent.expired:
                self._window_tokens += (tokens or 0) - sent.tokens
                sent.tokens = tokens or 0
                if replayed:
                    self._window.remove(sent)
                    self._window_tokens -= sent.tokens
            self._changed.notify_all()

    def _count(self, *, inner: bool) -> _Sent:
        sent = _Sent(self._now(), self._mean, expired=self.limits.requests is None and self.limits.tokens is None)
        # The next call is held up by the gap, and by a little chance: other processes may call the same provider.
        self._opens = max(self._opens, sent.at + self._pace.gap * random.uniform(1, 1.1))
        self._in_flight += not inner
        if inner or sent.expired:
            return sent
        self._window.append(sent)
        self._window_tokens += sent.tokens
        return sent

    def _delay(self, *, inner: bool) -> float:
        """How many seconds a call has to wait at least; infinite if until another call ends."""
        now, limits = self._now(), self.limits
        if now < self._opens or inner:
            return max(0.0, self._opens - now)
        if limits.calls is not None and self._in_flight >= limits.calls:
            return math.inf
        while self._window and self._window[0].at + MINUTE <= now:
            first = self._window.popleft()
            first.expired = True
            self._window_tokens -= first.tokens
        if limits.requests is not None and len(self._window) >= limits.requests:
            return self._window[-limits.requests].at + MINUTE - now
        if limits.tokens is not None and self._window:
            if not self._replies and self._in_flight:
                # How large the calls are is known from the first reply on.
                return math.inf
            if self._window_tokens + self._mean > limits.tokens:
                return self._window[0].at + MINUTE - now
        return 0.0


class Passage:
    """One live attempt; a context manager that waits at the gate.

    Args:
        gate: the provider's gate; None lets it through.
        until: when to wait at it no longer, on its clock; None for no limit.

    Attributes:
        sent_at: when it passed the gate, on the gate's clock.
    """

    def __init__(self, gate: Gate | None, until: float | None = None) -> None:
        self.sent_at = 0.0
        self._gate, self._until = gate, until
        self._tokens: int | None = None
        self._replayed = False

    def settle(self, tokens: int, *, replayed: bool) -> None:
        """Says how many tokens the attempt used, and whether a recording answered it."""
        self._tokens, self._replayed = tokens, replayed

    def __enter__(self) -> Self:
        if self._gate is not None:
            passed, seat = _passed.get(), _seat.get()
            self._inner = self._gate in passed
            self._sent = self._gate.enter(seat, inner=self._inner, until=self._until)
            self.sent_at = self._sent.at
            self._token = _passed.set((*passed, self._gate))
            self._seat = None if self._inner else seat
            if self._seat:
                self._seat.calling = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._gate is None:
            return
        _passed.reset(self._token)
        if not self._inner:
            self._gate.leave(self._sent, self._tokens, replayed=self._replayed)
        if self._seat:
            self._seat.calling = False


_passed: ContextVar[tuple[Gate, ...]] = ContextVar("llm_tester_gates", default=())
_seat: ContextVar[Seat | None] = ContextVar("llm_tester_seat", default=None)
_parts: ContextVar[int] = ContextVar("llm_tester_rate_parts", default=1)
_stop: ContextVar[Stop] = ContextVar("llm_tester_stop", default=Stop())  # noqa: B039 (no one asks the default)
_asleep = lock_of(threading.Condition)
_lock = lock_of(threading.Lock)
_gates: dict[str, Gate] = {}


def gate_of(config: ProviderConfig) -> Gate:
    """The gate of a provider in this process, with the limits of its entry."""
    with _lock:
        gate = _gates.get(config.name)
        if gate is None:
            gate = _gates[config.name] = Gate()
        parts = _parts.get()
        written = (config.max_concurrency, config.requests_per_minute, config.tokens_per_minute)
        gate.limits = Rates(*(limit and max(1, limit // parts) for limit in written))
        return gate


def reset() -> None:
    """Forgets what was called when."""
    with _lock:
        _gates.clear()


# What other threads of the parent had under way never ends in a child.
in_child(reset)


def passing(config: ProviderConfig, until: float | None = None) -> Passage:
    """What a live attempt waits for, until a time by `time.monotonic`; nothing if no request of the context is sent."""
    return Passage(None if cassettes.is_offline() else gate_of(config), until)


def aside() -> AbstractContextManager[None]:
    """Lends the place in the run that the calling context has, while it waits."""
    seat = _seat.get()
    return seat.aside() if seat else nullcontext()


def wait_alone(seconds: float) -> None:
    """Waits before another attempt of the calling context, which lends its place in the run meanwhile."""
    # Random, so that calls which failed together do not come back together.
    until = time.monotonic() + random.uniform(0, seconds)
    with aside(), _asleep:
        while not _stop.get().asked and (left := until - time.monotonic()) > 0:
            pause(_asleep, left)


def seated(seat: Seat) -> AbstractContextManager[None]:
    """Says which place in a run's threads the calling context has."""
    return holding(_seat, seat)


def stoppable(stop: Stop) -> AbstractContextManager[None]:
    """Lets the calls of the calling context end when a run is asked to."""
    return holding(_stop, stop)


def check_stop() -> None:
    """Checks that the run of the calling context has not been asked to end.

    Raises:
        StoppedError: it has, so nothing more may be sent.
    """
    if _stop.get().asked:
        raise StoppedError("not run: the run was interrupted")


def dividing(parts: int) -> AbstractContextManager[None]:
    """Gives the calling context one of several equal parts of each limit; the other processes have the others."""
    return holding(_parts, parts)
