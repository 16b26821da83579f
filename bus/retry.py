"""Whether a request that failed is asked again, with the same id, and what its asker is told in the end. Pure."""

from __future__ import annotations

from bus.errors import BusError, OutcomeUnknownError, OverloadedError, UnreachableError


class Retry:
    """One request. Times are those of one monotonic clock, in seconds."""

    def __init__(
        self, deadline_s: float, *, absent_s: float, pause_s: tuple[float, float], overload_is_absence: bool = False
    ) -> None:
        """Ask until the deadline, but not once nobody has been there for `absent_s`; pauses double up to the second."""
        self._deadline_s = deadline_s
        self._absent_s = absent_s
        self._pause_s, self._longest_pause_s = pause_s
        self._absence = (UnreachableError, OverloadedError) if overload_is_absence else (UnreachableError,)
        self._absent_since_s: float | None = None
        self._doubt: OutcomeUnknownError | None = None

    def failed(self, error: BusError, now_s: float) -> float:
        """How long to pause before the next attempt; raises what the asker is told if there is none.

        Once one attempt may have been carried out, that nobody is there any more is no answer: the outcome is unknown.
        """
        if isinstance(error, OutcomeUnknownError):
            self._doubt = error
        if not isinstance(error, self._absence):
            self._absent_since_s = None
        elif self._absent_since_s is None:
            self._absent_since_s = now_s
        until_s = self._deadline_s
        if self._absent_since_s is not None:
            until_s = min(until_s, self._absent_since_s + self._absent_s)
        if not error.retryable or now_s + self._pause_s >= until_s:
            if self._doubt is not None and error.retryable and error is not self._doubt:
                raise self._doubt from error
            raise error
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, self._longest_pause_s)
        return pause_s
