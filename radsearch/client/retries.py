"""When a call is tried again, and when it has failed for good."""

import math
import random
import time
from http import HTTPStatus

import httpx

from radsearch.client.errors import NoAnswerError, ProblemError

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
BROKEN_BEHIND_A_PROXY = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT})
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Attempts:
    """The attempts of one call within its deadline.

    A refusal with 429 has done nothing, so every call comes back: not before ``Retry-After``, and not all
    clients at the same moment. What breaks may have done something, so only what does no harm twice is sent
    again: after a broken connection; after a proxy's 502 or 504, which tells of a broken connection behind
    it; and after a 503, which may do so, too: from a proxy, or from a service that lost Redis in between.

    Args:
        deadline_s: for all attempts and pauses together.
        is_repeatable: whether doing it twice does no harm.
    """

    def __init__(self, deadline_s: float, is_repeatable: bool) -> None:
        self._deadline_s = deadline_s
        self._end = time.monotonic() + deadline_s
        self._is_repeatable = is_repeatable
        self._n_pauses = 0
        self._told: ProblemError | None = None  # by the last attempt that was answered

    @property
    def left_s(self) -> float:
        """Seconds to the deadline; some milliseconds at least, for what begins now."""
        return max(0.001, self._end - time.monotonic())

    def pause_after_answer(self, response: httpx.Response) -> float:
        """How long to wait before the next attempt, in seconds.

        Raises:
            ProblemError: what the response says, if there is no next attempt.
        """
        error = ProblemError.of(response)
        pause_s = _retry_after_s(response) + self._spread_s()
        if not self._comes_back(response.status_code, error) or pause_s >= self.left_s:
            raise error
        self._told = error
        return pause_s

    def pause_after_error(self, error: httpx.TransportError) -> float:
        """How long to wait before the next attempt, in seconds.

        Raises:
            ClientError: from :meth:`no_answer`, if there is no next attempt.
        """
        pause_s = self._spread_s()
        may_repeat = self._is_repeatable or isinstance(error, NOT_SENT)
        if not may_repeat or pause_s >= self.left_s:
            raise self.no_answer(error) from error
        return pause_s

    def no_answer(self, error: Exception) -> NoAnswerError | ProblemError:
        """What the caller is told where nothing came back from the last attempt.

        That is what an earlier one was told, for it says why there was another. Not so where doing it twice
        does harm: a refusal would say that nothing was done, and the last attempt may have done it.
        """
        if self._told is not None and self._is_repeatable:
            return self._told
        reason = str(error) or type(error).__name__
        return NoAnswerError(f"no answer within {self._deadline_s:g} s of calling: {reason}")

    def _comes_back(self, status: int, error: ProblemError) -> bool:
        """Whether another attempt may be answered, and does no harm."""
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return True
        is_broken = status in BROKEN_BEHIND_A_PROXY and not error.problem.is_of_radsearch
        return self._is_repeatable and (is_broken or status == HTTPStatus.SERVICE_UNAVAILABLE)

    def _spread_s(self) -> float:
        """A random pause whose bound doubles with each."""
        bound_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._n_pauses)
        self._n_pauses += 1
        return random.uniform(0, bound_s)


def _retry_after_s(response: httpx.Response) -> float:
    """Seconds that the service asks for; 0 where it does not, or by a date."""
    try:
        seconds = float(response.headers.get("Retry-After", "0"))
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
