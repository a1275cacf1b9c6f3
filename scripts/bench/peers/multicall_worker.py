"""Runs in the environment of the `multicall` package: reads pairs given as JSON on stdin, then again once a line.

First line: {"url", "block", "pairs": [[token, wallet]]}; the answer is the list of balances. Every further line is one
round; the answer is its seconds.
"""
# mypy: ignore-errors
# multicall is not in the project's environment.

import json
import sys
import time

import web3
from multicall import Call, Multicall


def main() -> None:
    given = json.loads(sys.stdin.readline())
    w3 = web3.Web3(web3.HTTPProvider(given["url"]))
    print(json.dumps([str(balance) for balance in read(w3, given)]), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        read(w3, given)
        print(json.dumps(time.perf_counter() - began), flush=True)


def read(w3: web3.Web3, given: dict) -> list[int]:
    """As the package's readme shows it for calls that may fail, which is what it is compared with."""
    calls = [
        Call(token, ["balanceOf(address)(uint256)", wallet], [(number, succeeded)])
        for number, (token, wallet) in enumerate(given["pairs"])
    ]
    return list(Multicall(calls, block_id=given["block"], require_success=False, _w3=w3)().values())


def succeeded(success: bool, value: int) -> int | None:
    return value if success else None


if __name__ == "__main__":
    main()
