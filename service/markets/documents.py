"""Books and pools as clients see them: pure functions from values to documents.

Guarantees: amounts are exact, prices are truncated text; a symbol stands for one listed token.
"""

from typing import Any

from chains.units import format_units
from contracts.errors import InconsistentPool
from contracts.routing.model import GraphPool
from contracts.uniswap_v2.pool import V2Pool
from service.markets.board import Look
from service.markets.book import Book, Level
from service.markets.needs import QuotedChain
from service.markets.prices import market_ratio_text
from service.markets.quotes import block_document, token_name


def depth_document(chain: QuotedChain, book: Book, *, look: Look, now_ms: int) -> dict[str, Any]:
    """The book, [price, base amount] a level."""
    market = book.market

    def level(one: Level) -> tuple[str, str]:
        return book.filters.price_text(one.ticks), format_units(one.base, market.base.decimals)

    return {
        "chain": chain.config.key,
        "market": market.symbol,
        "base": market.base.symbol,
        "quote": market.quote.symbol,
        "tick": book.filters.tick_text(),
        "bids": [level(one) for one in book.bids],
        "asks": [level(one) for one in book.asks],
        "block": block_document(look.view.header, now_ms),
        "checked_ms": look.view.checked_ms,
    }


def pools_document(chain: QuotedChain, look: Look, *, now_ms: int) -> dict[str, Any]:
    """A market's pools, in the order of their addresses."""
    return {
        "chain": chain.config.key,
        "market": look.market.symbol,
        "pools": [_pool(chain, look, pool) for pool in look.pools],
        "block": block_document(look.view.header, now_ms),
        "checked_ms": look.view.checked_ms,
    }


def _pool(chain: QuotedChain, look: Look, pool: GraphPool) -> dict[str, Any]:
    key, state = pool.key, pool.state
    base = chain.assets.token_of(look.market.base).token_address
    try:
        mid = state.mid_price if key.token0 == base else state.mid_price.inverse
        price = market_ratio_text(mid, look.market)
    except InconsistentPool:
        price = None
    shown: dict[str, Any] = {
        "venue": key.venue.value,
        "address": pool.address,
        "fee_pips": key.fee_pips,
        "token0": token_name(chain, key.token0),
        "token1": token_name(chain, key.token1),
        "price": price,
        "reserves": None,
        "liquidity": None,
        "tick": None,
    }
    if isinstance(state, V2Pool):
        token0, token1 = chain.assets.by_address(key.token0), chain.assets.by_address(key.token1)
        reserves = (format_units(state.reserve0, token0.decimals), format_units(state.reserve1, token1.decimals))
        return shown | {"reserves": reserves}
    return shown | {"liquidity": str(state.liquidity), "tick": state.tick}
