"""A small trading bot: the example to read first, and to start your own from.

It knows nothing but Cambist's HTTP API (`scripts/demo/client.py`). It looks at balances and prices on two chains, sells
and buys on each, has a limit order rest and moves it to the market, tries what must be refused, withdraws, and then
holds its own arithmetic against the final balances, to the wei.

    make demo DETACH=1
    .venv/bin/python -m scripts.demo.bot          # again, as often as you like

It reads CAMBIST_URL and the three keys from the environment, else from `.cambist/demo/env`.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal, localcontext
from pathlib import Path

import httpx

from scripts.demo.checks import CheckFailed, check, expect
from scripts.demo.client import Cambist, Json, Refused
from scripts.demo.folder import demo_folder, read_environment
from scripts.demo.show import Screen, amount, short, signed

FILL_TIMEOUT_S = 180.0
POLL_S = 0.3
ENDED = {"FILLED", "CANCELED", "REJECTED", "EXPIRED"}
SLIPPAGE_BPS = 100
"""Prices move by some hundredths of a percent a second, and a busy machine takes some seconds to a block."""
EXACT_DIGITS = 90
"""Enough for any uint256 with any number of decimals: nothing is ever rounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """What the bot does on one chain: sell some base asset, then buy with some quote asset."""

    chain: str
    market: str
    sell_base: str
    buy_with_quote: str
    buy_on: str | None = None
    """Whose pools the purchase goes through; None takes the best price."""


TRIPS = (
    Trip(chain="ethereum", market="ETHUSDC", sell_base="0.75", buy_with_quote="900"),
    Trip(chain="polygon", market="POLUSDC", sell_base="400", buy_with_quote="125", buy_on="quickswap_v2"),
)
LARGE = Trip(chain="ethereum", market="ETHUSDC", sell_base="300", buy_with_quote="0")
"""Only looked at: what its route would be."""
SHOWN_MARKETS = {
    "ethereum": ("ETHUSDC", "ETHUSDT", "WBTCUSDC", "DAIUSDC"),
    "polygon": ("POLUSDC", "POLUSDT", "WETHUSDC", "USDCEUSDC"),
}
RESTING = Trip(chain="ethereum", market="ETHUSDC", sell_base="0.2", buy_with_quote="0")
FAR_PERCENT, NEAR_PERCENT = 103, 99
"""Of the price that a limit order rests at, and of the one that it is moved to: inside what the pools pay now."""
WITHDRAW_CHAIN, WITHDRAW_ASSET, WITHDRAW_AMOUNT = "ethereum", "USDC", "250"
FORBIDDEN_ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7"
"""A wallet like any other, in nobody's allowlist: the example of EIP-55."""


def path_of(leg: Json) -> str:
    """The assets that a leg of a route goes through."""
    return " → ".join([leg["hops"][0]["token_in"], *(hop["token_out"] for hop in leg["hops"])])


def run(environment: Mapping[str, str], screen: Screen) -> None:
    """Everything the bot does.

    Raises:
        CheckFailed: an answer was not what it must be.
        Refused: the API refused what it should have done.
    """
    with closing(_Bot(environment, screen)) as bot, localcontext() as context:
        context.prec = EXACT_DIGITS
        before = bot.look()
        bot.look_deeper()
        moved: Moved = {}
        for trip in TRIPS:
            bot.trade(trip, moved)
        bot.rest(moved)
        bot.be_refused()
        bot.withdraw(moved)
        after = bot.compare(before, moved)
        bot.reconcile(after)


Holdings = dict[tuple[str, str], Decimal]
"""(chain, asset) -> amount."""
Moved = dict[tuple[str, str], Decimal]


class _Bot:
    def __init__(self, environment: Mapping[str, str], screen: Screen) -> None:
        url = environment["CAMBIST_URL"]
        self.screen = screen
        self.withdraw_to = environment["CAMBIST_WITHDRAW_ADDRESS"]
        self.nobody = Cambist(url)
        self.reader, self.trader, self.payer = (
            Cambist(url, key=environment[f"CAMBIST_{name}_KEY"], secret=environment[f"CAMBIST_{name}_SECRET"])
            for name in ("READ", "TRADE", "WITHDRAW")
        )

    def close(self) -> None:
        for client in (self.nobody, self.reader, self.trader, self.payer):
            client.close()

    # -- looking ------------------------------------------------------------------------------------------

    def look(self) -> Holdings:
        """Balances on both chains, and what the assets cost."""
        self.screen.chapter("Balances, with the read key")
        found = self.balances()
        self._show_balances(found)
        self.screen.chapter("Prices, without a key")
        rows = []
        for trip in TRIPS:
            answer = self.nobody.get(f"/v1/{trip.chain}/ticker")
            for ticker in answer["tickers"]:
                if ticker["market"] not in SHOWN_MARKETS[trip.chain]:
                    continue
                check(
                    ticker["status"] != "unknown",
                    f"{ticker['market']} has a price on {trip.chain}: {ticker['problem']}",
                )
                feed = ticker["reference"]
                prices = [ticker["bid"], ticker["ask"], feed["price"] if feed else None]
                rows.append([trip.chain, ticker["market"], *(amount(price) for price in prices)])
            check(any(row[1] == trip.market for row in rows), f"{trip.market} is listed on {trip.chain}")
        self.screen.table(["chain", "market", "bid", "ask", "Chainlink"], rows, numbers=["bid", "ask", "Chainlink"])
        return found

    def look_deeper(self) -> None:
        """The order book that the pools amount to, and how a sale far above the wallet's means would be split."""
        chain, market = LARGE.chain, LARGE.market
        self.screen.chapter(f"The book of {market} on {chain}, and the best route for a sale of {LARGE.sell_base}")
        book = self.nobody.get(f"/v1/{chain}/depth", market=market, limit="3", aggregate="10")
        check(len(book["asks"]) == len(book["bids"]) == 3, "the book has levels on both sides")
        levels = [("ask", *level) for level in reversed(book["asks"])] + [("bid", *level) for level in book["bids"]]
        self.screen.table(
            ["side", book["quote"], book["base"]],
            [[side, price, amount(base)] for side, price, base in levels],
            numbers=[book["quote"], book["base"]],
        )
        routes = self.reader.get(f"/v1/{chain}/routes", market=market, side="sell", base_amount=LARGE.sell_base)
        for leg in routes["route"]["legs"]:
            venues = ", ".join(dict.fromkeys(hop["venue"] for hop in leg["hops"]))
            share = f"{(leg['share_bps'] + 50) // 100} %"
            self.screen.note(f"{share:>5}  {path_of(leg)} ({venues}): {amount(leg['buy'])} {routes['judged_in']}")
        self.screen.fact(
            f"{len(routes['candidates'])} ways compared; after gas the chosen one brings"
            f" {amount(routes['gain'])} {routes['judged_in']} more than the best path alone"
        )

    def balances(self) -> Holdings:
        """Every listed asset on both chains, to the last digit."""
        found: Holdings = {}
        for trip in TRIPS:
            for row in self.reader.get(f"/v1/{trip.chain}/balances")["balances"]:
                check(row["total"] is not None, f"the balance of {row['asset']} on {trip.chain} is known")
                found[trip.chain, row["asset"]] = Decimal(row["total"])
        return found

    # -- trading ------------------------------------------------------------------------------------------

    def trade(self, trip: Trip, moved: Moved) -> None:
        """Ask for a quote, sell, buy."""
        self.screen.chapter(f"A quote, a sale and a purchase on {trip.chain}, with the trade key")
        base = {"market": trip.market, "side": "sell", "base_amount": trip.sell_base}
        quote = self.trader.get(f"/v1/{trip.chain}/quote", **base)
        route = " + ".join(path_of(leg) for leg in quote["route"]["legs"])
        self.screen.note(
            f"quote at block {quote['block']['number']}: {amount(quote['sell']['amount'])} {quote['sell']['asset']}"
            f" → {amount(quote['buy']['amount'])} {quote['buy']['asset']}"
            f" by {' and '.join(quote['route']['venues'])} ({route}), impact {quote['price_impact_bps']} bps"
        )
        sale = self._order(trip, base, moved)
        buy = {"market": trip.market, "side": "buy", "quote_amount": trip.buy_with_quote}
        purchase = self._order(trip, buy if trip.buy_on is None else {**buy, "venue": trip.buy_on}, moved)
        self.screen.fact("each was sent twice with the same client id, and traded once")
        self.screen.table(
            ["order", "sold", "bought", "price", "venue", "gas"],
            [self._order_row(order) for order in (sale, purchase)],
            numbers=["sold", "bought", "price", "gas"],
        )

    def rest(self, moved: Moved) -> None:
        """A limit order far from the price rests, with what it sells set aside; moved in one step, it trades."""
        chain, market, size = RESTING.chain, RESTING.market, RESTING.sell_base
        self.screen.chapter(f"A limit order on {chain} that rests, and then trades")
        (ticker,) = self.nobody.get(f"/v1/{chain}/ticker", market=market)["tickers"]
        (listed,) = [one for one in self.nobody.get(f"/v1/{chain}/markets")["markets"] if one["symbol"] == market]
        tick = Decimal(listed["tick"])
        far, near = (
            format(Decimal(ticker["bid"]) * percent // (100 * tick) * tick, "f")
            for percent in (FAR_PERCENT, NEAR_PERCENT)
        )
        order = {"market": market, "side": "sell", "type": "limit", "time_in_force": "gtc", "base_amount": size}
        resting = self.trader.post(f"/v1/{chain}/orders", {**order, "price": far})
        check(resting["resting"] and resting["state"] == "NEW", f"an order {FAR_PERCENT - 100} % away rests")
        (held,) = [
            one for one in self.reader.get(f"/v1/{chain}/balances")["balances"] if one["asset"] == listed["base"]
        ]
        check(Decimal(held["reserved"]) >= Decimal(size), "what it sells is set aside")
        self.screen.fact(
            f"order {resting['id']}: sell {size} {listed['base']} at {amount(far)} rests;"
            f" {amount(held['reserved'])} {listed['base']} is set aside, gas included"
        )
        replaced = self.trader.post(
            f"/v1/{chain}/orders/replace",
            {"cancel_order_id": resting["id"], "mode": "stop_on_failure", "order": {**order, "price": near}},
        )
        check(replaced["cancelled"]["state"] == "CANCELED", "the first order is cancelled in the same step")
        sold = self._filled(RESTING, replaced["placed"], moved)
        check(Decimal(sold["average_price"]) >= Decimal(near), "a limit order trades at its price or better")
        self.screen.fact(
            f"order {sold['id']} in its place, at {amount(near)} or better: filled at {amount(sold['average_price'])}"
        )

    def _order(self, trip: Trip, wanted: Json, moved: Moved) -> Json:
        """Place a market order, wait until it is filled, and note what it moved."""
        body = {
            **wanted,
            "type": "market",
            "slippage_bps": SLIPPAGE_BPS,
            "client_order_id": f"demo-{secrets.token_hex(8)}",
        }
        order = self.trader.post(f"/v1/{trip.chain}/orders", body)
        again = self.trader.post(f"/v1/{trip.chain}/orders", body)
        check(again["id"] == order["id"], "the same client id gives the same order, not a second one")
        return self._filled(trip, order, moved)

    def _filled(self, trip: Trip, order: Json, moved: Moved) -> Json:
        """Wait until it is filled, and note what it moved."""
        with self.screen.waiting(f"order {order['id']}: {order['side']} {trip.market}, until it is confirmed"):
            deadline = time.monotonic() + FILL_TIMEOUT_S
            while order["state"] not in ENDED:
                check(time.monotonic() < deadline, f"order {order['id']} ends within {FILL_TIMEOUT_S:.0f} s")
                time.sleep(POLL_S)
                order = self.reader.get(f"/v1/orders/{order['id']}")
        check(order["state"] == "FILLED", f"order {order['id']} is filled, not {order['state']}: {order['reason']}")
        sells = order["side"] == "sell"
        sold, bought = self._sold_and_bought(order)
        limit = order["limit"]
        check(sold <= Decimal(limit["max_sold"]), "no more was sold than the limit on the chain allows")
        check(bought >= Decimal(limit["min_bought"]), "no less was bought than the limit on the chain allows")
        fixed = order["base_amount"] if order["base_amount"] is not None else order["quote_amount"]
        check((sold if sells == (order["base_amount"] is not None) else bought) == Decimal(fixed), "as much as asked")
        note(moved, trip.chain, limit["sold_asset"], -sold)
        note(moved, trip.chain, limit["bought_asset"], bought)
        note(moved, trip.chain, order["gas"]["asset"], -Decimal(order["gas"]["amount"]))
        return order

    def _order_row(self, order: Json) -> Sequence[str]:
        sold, bought = self._sold_and_bought(order)
        limit, gas = order["limit"], order["gas"]
        return [
            f"{order['id']} {order['side']}",
            f"{amount(format(sold, 'f'))} {limit['sold_asset']}",
            f"{amount(format(bought, 'f'))} {limit['bought_asset']}",
            amount(order["average_price"]),
            " ".join(order["quoted"]["route"]["venues"]),
            f"{amount(gas['amount'], digits=3)} {gas['asset']}",
        ]

    @staticmethod
    def _sold_and_bought(order: Json) -> tuple[Decimal, Decimal]:
        base, quote = Decimal(order["filled_base"]), Decimal(order["filled_quote"])
        return (base, quote) if order["side"] == "sell" else (quote, base)

    # -- what must not work -------------------------------------------------------------------------------

    def be_refused(self) -> None:
        """A key can do what it was made for, and nothing else."""
        self.screen.chapter("What must be refused")
        order = {
            "market": TRIPS[0].market,
            "side": "sell",
            "type": "market",
            "base_amount": TRIPS[0].sell_base,
            "client_order_id": f"demo-{secrets.token_hex(8)}",
        }
        payment = self._payment(FORBIDDEN_ADDRESS)
        orders, withdrawals = f"/v1/{TRIPS[0].chain}/orders", f"/v1/{WITHDRAW_CHAIN}/withdrawals"
        expect(self.screen, "permission_denied", "an order with the read key", lambda: self.reader.post(orders, order))
        expect(
            self.screen,
            "permission_denied",
            "a withdrawal with the trade key",
            lambda: self.trader.post(withdrawals, payment),
        )
        expect(
            self.screen,
            "destination_not_allowed",
            f"a withdrawal to {short(FORBIDDEN_ADDRESS)}, not in the allowlist",
            lambda: self.payer.post(withdrawals, payment),
        )
        self._ask_before()

    def _ask_before(self) -> None:
        """A key knows its limits: what of its day is left, and what would be refused, and why."""
        own = self.trader.get("/v1/key")
        (day,) = [one for one in own["today"] if one["limit"] == "daily_usd"]
        self.screen.note(f"the trade key's orders today: {amount(day['used'])} of {amount(day['allowed'])} USD")
        check(Decimal(day["used"]) > 0, "what was traded is counted")
        order = {"kind": "order", "chain": TRIPS[0].chain, "market": TRIPS[0].market, "usd": day["allowed"]}
        answer = self.trader.post("/v1/key/check", order)
        check(not answer["allowed"], "an order worth the whole day's limit is refused after others")
        self.screen.note(f"it asks about an order worth {amount(day['allowed'])} USD: {answer['denials'][0]['code']}")

    # -- withdrawing --------------------------------------------------------------------------------------

    def withdraw(self, moved: Moved) -> None:
        """Send some tokens to the address that the withdraw key allows."""
        self.screen.chapter("A withdrawal to an allowed address, with the withdraw key")
        body = self._payment(self.withdraw_to)
        paid = self.payer.post(f"/v1/{WITHDRAW_CHAIN}/withdrawals", body)
        with self.screen.waiting(f"withdrawal {paid['id']}, until it is confirmed"):
            deadline = time.monotonic() + FILL_TIMEOUT_S
            while paid["state"] in ("processing", "sent"):
                check(time.monotonic() < deadline, f"withdrawal {paid['id']} ends within {FILL_TIMEOUT_S:.0f} s")
                time.sleep(POLL_S)
                paid = self.payer.get(f"/v1/withdrawals/{paid['id']}")
        check(paid["state"] in ("confirmed", "final"), f"withdrawal {paid['id']} is confirmed, not {paid['state']}")
        gas = paid["gas"]
        self.screen.fact(
            f"{amount(paid['amount'])} {paid['asset']} to {short(paid['address'])} in {short(paid['tx_hash'])},"
            f" gas {amount(gas['amount'], digits=3)} {gas['asset']}"
        )
        note(moved, WITHDRAW_CHAIN, paid["asset"], -Decimal(paid["amount"]))
        note(moved, WITHDRAW_CHAIN, gas["asset"], -Decimal(gas["amount"]))

    @staticmethod
    def _payment(address: str) -> Json:
        return {
            "asset": WITHDRAW_ASSET,
            "amount": WITHDRAW_AMOUNT,
            "address": address,
            "client_withdrawal_id": f"demo-{secrets.token_hex(8)}",
        }

    # -- holding it against the chain ---------------------------------------------------------------------

    def compare(self, before: Holdings, moved: Moved) -> Holdings:
        """What it had, plus what its orders say they moved, is what it has: to the last digit."""
        self.screen.chapter("The bot's own arithmetic against the chain")
        after = self.balances()
        rows = []
        for place, had in before.items():
            change = moved.get(place, Decimal(0))
            check(
                had + change == after[place],
                f"{place[1]} on {place[0]}: {had} {change:+} is {had + change}, and the chain says {after[place]}",
            )
            if change:
                rows.append(
                    [
                        *place,
                        amount(format(had, "f")),
                        signed(change),
                        amount(format(after[place], "f")),
                        "[green]exact[/]",
                    ]
                )
        self.screen.table(
            ["chain", "asset", "before", "moved", "after", ""], rows, numbers=["before", "moved", "after"]
        )
        return after

    def reconcile(self, after: Holdings) -> None:
        """The service's books: what the wallet opened with, plus the journal, against the chain."""
        self.screen.chapter("The service's books against the chain")
        rows = []
        for trip in TRIPS:
            with self.screen.waiting(f"the books of {trip.chain} reach the last block"):
                report = self._caught_up(trip.chain, after)
            for row in report["assets"]:
                check(row["verdict"] == "ok", f"the books of {row['asset']} on {trip.chain} agree: {row}")
                if Decimal(row["journal"]):
                    journal = signed(Decimal(row["journal"]))
                    exact = "[green]exact[/]"
                    rows.append(
                        [trip.chain, row["asset"], amount(row["opening"]), journal, amount(row["chain"]), exact]
                    )
            self.screen.fact(f"{trip.chain}: every asset agrees to the last wei at block {report['block']['number']}")
        self.screen.table(
            ["chain", "asset", "opening", "journal", "on the chain", ""],
            rows,
            numbers=["opening", "journal", "on the chain"],
        )

    def _caught_up(self, chain: str, after: Holdings) -> Json:
        """The reconciliation, once the confirmed block that it is made at has everything the bot did."""
        deadline = time.monotonic() + FILL_TIMEOUT_S
        while True:
            report = self.reader.get(f"/v1/{chain}/reconciliation")
            check(report["verdict"] == "ok", f"the books of {chain} agree with the chain: {report}")
            if all(Decimal(row["expected"]) == after[chain, row["asset"]] for row in report["assets"]):
                return report
            check(time.monotonic() < deadline, f"the books of {chain} show everything within {FILL_TIMEOUT_S:.0f} s")
            time.sleep(POLL_S)

    def _show_balances(self, found: Holdings) -> None:
        rows = [[chain, asset, amount(format(total, "f"))] for (chain, asset), total in found.items() if total]
        self.screen.table(["chain", "asset", "amount"], rows, numbers=["amount"])


def note(moved: Moved, chain: str, asset: str, change: Decimal) -> None:
    """Add to what was moved."""
    moved[chain, asset] = moved.get((chain, asset), Decimal(0)) + change


def main() -> int:
    """Run against a demo that is up; the answer is the exit status."""
    repository = Path(__file__).resolve().parents[2]
    environment = {**(read_environment(demo_folder(repository)) or {}), **os.environ}
    if "CAMBIST_URL" not in environment:
        print("No demo is running here: `make demo DETACH=1` starts one.", file=sys.stderr)
        return 1
    screen = Screen()
    try:
        run(environment, screen)
    except (CheckFailed, Refused, httpx.TransportError) as failure:
        screen.console.print(f"[bold red]{type(failure).__name__}[/]", str(failure))
        return 1
    screen.fact("every check held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
