"""What can go wrong with the database, by what is known of the outcome.

DatabaseError
├── DatabaseUrlInvalid     the configured address cannot be used
├── DatabaseInUse          another process holds this database
├── DatabaseClosed         `close` was called
├── SchemaUnknown          made by a newer version, or not ours: nothing was touched
├── SchemaOutdated         older than this version: run the migrations
├── WrongDatabase          it belongs to other chains than the endpoints serve
├── WriteConflict          nothing was committed: another transaction won; the same call may be made again
├── CommitFailed           nothing was committed (disk full, busy)
│   └── DatabaseUnavailable  the server cannot be reached, or was lost before COMMIT
└── CommitUnknown          COMMIT was sent and its answer is not known: look before doing it again

Beside these, as an `UnusableRow`: `Misfit`, a stored value that is none of its column's.
"""

from chains.tx.store import StoreUnavailable, UnusableRow


class DatabaseError(Exception):
    """Base of all errors of this layer. Messages never carry the database's address: it may hold a password."""


class DatabaseUrlInvalid(DatabaseError):
    """The configured address cannot be used."""


class DatabaseInUse(DatabaseError):
    """Another process holds this database."""


class DatabaseClosed(DatabaseError):
    """`close` was called."""


class SchemaUnknown(DatabaseError):
    """The database's revision is not one that this version knows."""


class SchemaOutdated(DatabaseError):
    """The database's revision is older than this version needs."""


class WrongDatabase(DatabaseError):
    """The database belongs to other chains than the endpoints serve."""


class WriteConflict(DatabaseError, StoreUnavailable):
    """Nothing was committed, since another transaction won. The same call may be made again."""


class CommitFailed(DatabaseError):
    """Nothing was committed. The same call may be made again once the cause is gone."""


class DatabaseUnavailable(CommitFailed, StoreUnavailable):
    """The server cannot be reached, or was lost before the commit. Nothing was read or committed."""


class CommitUnknown(DatabaseError):
    """COMMIT was sent and its answer is not known. Look at the rows before doing it again."""


class Misfit(UnusableRow):
    """A stored value is none of its column's: something else than the service has written it. It is not quoted."""

    def __init__(self, wanted: str, found: str) -> None:
        super().__init__(f"a stored value is {found} where {wanted} belongs")
