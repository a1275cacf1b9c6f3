"""The system's time behind `chains.tx.store.Clock`. Everything else takes a Clock, so tests decide what time it is."""

import time


class SystemClock:
    """UTC from the operating system. Wall time may step (NTP); `monotonic_s` never does."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()
