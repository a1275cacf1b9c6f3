"""Market data: chains, assets, markets, tickers, quotes and read-only contract calls."""
