"""Runs in degenbot's environment (0.3): loads pools given as JSON on stdin, then quotes all once a line.

First line: {"url", "pools": [{"address", "bitmap", "ticks"}], "quotes": [[pool, zero_for_one, amount]]}; the answer is
the list of amounts. Every further line is one round; the answer is its seconds.
"""
# mypy: ignore-errors
# degenbot is not in the project's environment.

import json
import logging
import sys
import time

import web3
from degenbot.config import set_web3
from degenbot.uniswap.types import UniswapV3BitmapAtWord, UniswapV3LiquidityAtTick
from degenbot.uniswap.v3_liquidity_pool import UniswapV3Pool


def main() -> None:
    logging.disable(logging.CRITICAL)
    given = json.loads(sys.stdin.readline())
    set_web3(web3.Web3(web3.HTTPProvider(given["url"])))
    pools = [
        UniswapV3Pool(
            each["address"],
            silent=True,
            tick_bitmap={int(word): UniswapV3BitmapAtWord(bitmap=int(bits)) for word, bits in each["bitmap"].items()},
            tick_data={
                int(tick): UniswapV3LiquidityAtTick(liquidity_gross=int(gross), liquidity_net=int(net))
                for tick, (gross, net) in each["ticks"].items()
            },
        )
        for each in given["pools"]
    ]
    quotes = [
        (
            pools[pool].calculate_tokens_out_from_tokens_in,
            pools[pool].token0 if down else pools[pool].token1,
            int(amount),
        )
        for pool, down, amount in given["quotes"]
    ]
    print(json.dumps([str(quote(token, amount)) for quote, token, amount in quotes]), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        for quote, token, amount in quotes:
            quote(token, amount)
        print(json.dumps(time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main()
