"""What a process of the service does. One process does all by default; on PostgreSQL any number share the work.

all      the API and the workers
api      the API; no signing key, no owner's acts
worker   the workers, owner's acts, and of HTTP only /livez and /readyz
"""

from enum import StrEnum


class Role(StrEnum):
    ALL = "all"
    API = "api"
    WORKER = "worker"

    @property
    def works(self) -> bool:
        """It has signing keys, engines and the control socket."""
        return self is not Role.API

    @property
    def serves(self) -> bool:
        """It answers clients."""
        return self is not Role.WORKER


class RoleNeedsPostgres(ValueError):
    """SQLite has one process, which has to do everything."""
