"""A clock that moves only when the test says so."""


class FakeClock:
    """Starts at 2026-01-01T00:00:00Z unless told otherwise; wall and monotonic time advance together."""

    def __init__(self, now_ms: int = 1_767_225_600_000) -> None:
        self._now_ms = now_ms
        self._elapsed_ms = 0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_s(self) -> float:
        return self._elapsed_ms / 1000

    def advance_ms(self, milliseconds: int) -> None:
        self._now_ms += milliseconds
        self._elapsed_ms += milliseconds

    def step_wall_ms(self, milliseconds: int) -> None:
        """The wall clock jumps, as by NTP or an operator; monotonic time goes on."""
        self._now_ms += milliseconds
