"""What the books need of the running service, as Protocols: `service.build.Services` has it all.

Written down here, since the service is built out of modules that use the books.
"""

from collections.abc import Mapping
from typing import Protocol

from chains.client import EvmClient
from chains.config import ChainConfig
from chains.tx.store import Clock
from chains.types import Address
from contracts.assets import AssetList
from contracts.deployments import Deployments
from service.auth.secrets import MasterKey
from service.db.engine import Database


class ChainParts(Protocol):
    """One configured chain: how to read it and what is listed there."""

    @property
    def config(self) -> ChainConfig: ...

    @property
    def client(self) -> EvmClient: ...

    @property
    def assets(self) -> AssetList: ...

    @property
    def deployments(self) -> Deployments: ...


class BooksServices(Protocol):
    """The parts of the service that the books work with. `chains` is keyed by the chain's key (`ethereum`)."""

    @property
    def db(self) -> Database: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def chains(self) -> Mapping[str, ChainParts]: ...

    @property
    def master(self) -> MasterKey: ...


class WalletRow(Protocol):
    """A wallet as far as its books need it: `accounts.wallets.Wallet`, or a caller's `WalletRef`."""

    @property
    def id(self) -> int: ...

    @property
    def address(self) -> Address: ...
