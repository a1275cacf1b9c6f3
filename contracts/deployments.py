"""The pinned registry: which protocol contract is where, and which ones may be given an allowance.

Guarantees: nothing in the product takes a router, quoter or factory from anywhere else; the packaged file is
compared with the contracts on a fork by a test. Not guaranteed: that a chain offers every venue.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from chains.types import Address, ChainId
from contracts.datafiles import Fields, read_file, read_packaged
from contracts.errors import InvalidData, UnknownDeployment

MULTICALL3 = "multicall3"
WRAPPED_NATIVE = "wrapped_native"


class Venue(StrEnum):
    """Whose pools a trade goes through."""

    UNISWAP_V3 = "uniswap_v3"
    UNISWAP_V2 = "uniswap_v2"
    QUICKSWAP_V2 = "quickswap_v2"


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueContracts:
    """Where to find a venue's pools and ask for amounts (QuoterV2, or a Router02's getAmounts)."""

    venue: Venue
    factory: Address
    quoter: Address


class RouterKind(StrEnum):
    """How a router is called."""

    SWAP_ROUTER_02 = "swap_router_02"
    """Uniswap's SwapRouter02: any number of paths in one multicall, V3 and the one V2 factory it was built with."""
    ROUTER_02 = "router_02"
    """Uniswap V2's Router02 and its copies: one path of one V2 factory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """A contract that swaps are sent to, and whose pools it can trade with."""

    kind: RouterKind
    address: Address
    venues: frozenset[Venue]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainDeployments:
    """The registry's part for one chain."""

    contracts: Mapping[str, Address]
    venues: tuple[VenueContracts, ...]
    routers: tuple[Router, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployments:
    """(chain, name) -> address, for all configured chains."""

    chains: Mapping[ChainId, ChainDeployments]

    def address(self, chain_id: ChainId, name: str) -> Address:
        """Raises: UnknownDeployment."""
        found = self._chain(chain_id, name).contracts.get(name)
        if found is None:
            raise UnknownDeployment(chain_id, name)
        return found

    def contracts(self, chain_id: ChainId) -> Mapping[str, Address]:
        """All named contracts of the chain. Raises: UnknownDeployment: the chain is not in the registry."""
        return self._chain(chain_id, "contracts").contracts

    def venues(self, chain_id: ChainId) -> tuple[VenueContracts, ...]:
        """Raises: UnknownDeployment: the chain is not in the registry."""
        return self._chain(chain_id, "venues").venues

    def venue(self, chain_id: ChainId, venue: Venue) -> VenueContracts:
        """Raises: UnknownDeployment: the chain does not have it."""
        for found in self.venues(chain_id):
            if found.venue is venue:
                return found
        raise UnknownDeployment(chain_id, venue)

    def routers(self, chain_id: ChainId) -> tuple[Router, ...]:
        """In the order of the file: of two routers that do the same, the first is meant. Raises: UnknownDeployment."""
        return self._chain(chain_id, "routers").routers

    def router_of(self, chain_id: ChainId, venue: Venue) -> Router:
        """The router for one path of that venue alone: of those that reach it the one that reaches least.

        Raises: UnknownDeployment: the chain does not have the venue.
        """
        found = [router for router in self.routers(chain_id) if venue in router.venues]
        if not found:
            raise UnknownDeployment(chain_id, venue)
        return min(found, key=lambda router: len(router.venues))

    def spenders(self, chain_id: ChainId) -> frozenset[Address]:
        """The contracts that may ever get an allowance: the routers swaps are sent to."""
        return frozenset(router.address for router in self.routers(chain_id))

    def chain_ids(self) -> Iterable[ChainId]:
        return self.chains.keys()

    def _chain(self, chain_id: ChainId, name: str) -> ChainDeployments:
        if chain_id not in self.chains:
            raise UnknownDeployment(chain_id, name)
        return self.chains[chain_id]


def load_deployments(extra: Path | None = None) -> Deployments:
    """The packaged registry; chains of the operator's file replace the packaged ones. Raises: InvalidData."""
    chains = _chains(read_packaged("deployments.json"))
    if extra is not None:
        chains |= _chains(read_file(extra))
    return Deployments(chains=MappingProxyType(chains))


def _chains(fields: Fields) -> dict[ChainId, ChainDeployments]:
    chains: dict[ChainId, ChainDeployments] = {}
    for key in fields.names():
        if not (key.isascii() and key.isdecimal()):
            raise InvalidData(f"{fields.where}: {key!r} is not a chain id")
        chains[ChainId(int(key))] = _chain(fields.child(key))
    return chains


def _chain(fields: Fields) -> ChainDeployments:
    listed, offered = fields.child("contracts"), fields.child("venues")
    contracts = {name: listed.address(name) for name in listed.names()}
    for needed in (MULTICALL3, WRAPPED_NATIVE):
        if needed not in contracts:
            raise InvalidData(f"{listed.where}: {needed!r} is missing")
    venues = tuple(_venue(name, offered.child(name), contracts=contracts) for name in offered.names())
    known = frozenset(venue.venue for venue in venues)
    sent_to = fields.child("routers")
    routers = tuple(_router(name, sent_to.child(name), contracts=contracts, known=known) for name in sent_to.names())
    if reachless := sorted(known - frozenset(venue for router in routers for venue in router.venues)):
        raise InvalidData(f"{sent_to.where}: no router trades with {', '.join(reachless)}")
    fields.refuse_unknown()
    return ChainDeployments(contracts=MappingProxyType(contracts), venues=venues, routers=routers)


def _router(name: str, fields: Fields, *, contracts: Mapping[str, Address], known: frozenset[Venue]) -> Router:
    if name not in contracts:
        raise InvalidData(f"{fields.where}: {name!r} is not among the chain's contracts")
    kind, venues = fields.text("kind"), fields.texts("venues")
    if kind not in set(RouterKind):
        raise InvalidData(f"{fields.where}: {kind!r} is no kind of router, not one of {', '.join(RouterKind)}")
    if not venues or not set(venues) <= set(known):
        raise InvalidData(f"{fields.where} venues: some of {', '.join(sorted(known))}")
    router = Router(kind=RouterKind(kind), address=contracts[name], venues=frozenset(map(Venue, venues)))
    fields.refuse_unknown()
    return router


def _venue(name: str, fields: Fields, *, contracts: Mapping[str, Address]) -> VenueContracts:
    if name not in set(Venue):
        raise InvalidData(f"{fields.where}: unknown venue, not one of {', '.join(Venue)}")

    def contract(role: str) -> Address:
        wanted = fields.text(role)
        if wanted not in contracts:
            raise InvalidData(f"{fields.where} {role}: {wanted!r} is not among the chain's contracts")
        return contracts[wanted]

    venue = VenueContracts(venue=Venue(name), factory=contract("factory"), quoter=contract("quoter"))
    fields.refuse_unknown()
    return venue
