"""Chainlink price feeds (AggregatorV3Interface): the latest finished round.

Guarantees: a price is positive and belongs to a finished round, or `FeedUnusable` is raised; `check_fresh` compares
with the feed's heartbeat. Not guaranteed: that the price is right. A feed may follow its market by its deviation
threshold (0.25 to 1 %), and stands still at the bounds built into its aggregator.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from chains.types import Address, BlockRef, BlockTag
from chains.units import format_units
from contracts.abi import decode_output, encode_call, load_abi
from contracts.assets import Asset, Feed
from contracts.call import Call, ContractReader, call_one
from contracts.errors import FeedStale, FeedUnusable
from contracts.multicall import Ok, Reverted, aggregate
from contracts.ratio import Ratio

FRESH_SLACK_S: Final = 300
"""An answer is stale when it is older than the heartbeat and this: oracles start a round when the heartbeat has
passed, and with dear gas it is a few minutes until the round is mined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """`answer` is the price as the feed counts it, see `decimals()`."""

    round_id: int
    answer: int
    updated_at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedAnswer:
    """`answer` / 10**`decimals` is the price, of one whole unit of the asset in USD for a `..._usd` feed."""

    feed: Address
    answer: int
    decimals: int
    updated_at_s: int

    @property
    def text(self) -> str:
        """The price as decimal text."""
        return format_units(self.answer, self.decimals)


def check_fresh(answer: FeedAnswer, expected: Feed, *, block_time_s: int, now_s: int) -> None:
    """The answer is the feed's as listed, and no older than its heartbeat allows, at the block and at this moment.

    Raises:
        FeedStale: too old, by the later of the two clocks: a node that stands still does not keep a price fresh.
        FeedUnusable: other decimals than listed, or a time after the block's.
    """
    if answer.decimals != expected.decimals:
        raise FeedUnusable(f"{expected.description} has {answer.decimals} decimals, not {expected.decimals} as listed")
    if answer.updated_at_s > block_time_s:
        raise FeedUnusable(f"{expected.description} was updated after its own block")
    age_s = max(block_time_s, now_s) - answer.updated_at_s
    if age_s > expected.heartbeat_s + FRESH_SLACK_S:
        raise FeedStale(f"{expected.description} is {age_s} s old, with a heartbeat of {expected.heartbeat_s} s")


def cross_rate(base: Asset, quote: Asset, *, base_usd: FeedAnswer, quote_usd: FeedAnswer) -> Ratio:
    """Base units of `quote` for a base unit of `base`, from two USD prices."""
    return Ratio.of(
        base_usd.answer * 10 ** (quote_usd.decimals + quote.decimals),
        quote_usd.answer * 10 ** (base_usd.decimals + base.decimals),
    )


def latest_round(feed: Address) -> Call[Round]:
    """latestRoundData(). Decoding raises FeedUnusable for an answer that is no price."""
    function = load_abi("chainlink_aggregator").function("latestRoundData")

    def decode(data: bytes) -> Round:
        round_id, answer, _started_at, updated_at_s, _answered_in = decode_output(function, data)
        if answer <= 0 or updated_at_s == 0:
            raise FeedUnusable(f"feed {feed} answers {answer}, updated at {updated_at_s}")
        return Round(round_id=round_id, answer=answer, updated_at_s=updated_at_s)

    return Call(to=feed, data=encode_call(function), decode=decode)


def feed_decimals(feed: Address) -> Call[int]:
    return call_one(feed, load_abi("chainlink_aggregator").function("decimals"))


async def latest_answer(
    client: ContractReader, feed: Address, *, multicall: Address, block: BlockRef | BlockTag
) -> FeedAnswer:
    """Price and decimals of one feed at one block, one node call.

    Raises:
        FeedUnusable: no valid answer; the feed is not there or reverted.
    """
    answers = await latest_answers(client, [feed], multicall=multicall, block=block)
    if (found := answers[feed]) is None:
        raise FeedUnusable(f"feed {feed} has no valid answer")
    return found


async def latest_answers(
    client: ContractReader, feeds: list[Address], *, multicall: Address, block: BlockRef | BlockTag
) -> dict[Address, FeedAnswer | None]:
    """Many feeds at one block, one node call. None: that feed has no valid answer; never a zero."""
    rounds = await aggregate(client, feed_calls(feeds), multicall=multicall, block=block)
    return feed_answers(feeds, rounds)


def feed_calls(feeds: Sequence[Address]) -> list[Call[Any]]:
    """The reads for `feed_answers`."""
    return [call for feed in feeds for call in (latest_round(feed), feed_decimals(feed))]


def feed_answers(feeds: Sequence[Address], rounds: Sequence[Ok[Any] | Reverted]) -> dict[Address, FeedAnswer | None]:
    """From the answers to `feed_calls(feeds)`, in order. None: that feed has no valid answer."""
    answers: dict[Address, FeedAnswer | None] = {}
    for position, feed in enumerate(feeds):
        latest, decimals = rounds[2 * position], rounds[2 * position + 1]
        if isinstance(latest, Reverted) or isinstance(decimals, Reverted):
            answers[feed] = None
            continue
        if not isinstance(latest.value, Round) or not isinstance(decimals.value, int):
            raise TypeError("aggregate answers in the order of its calls")
        answers[feed] = FeedAnswer(
            feed=feed,
            answer=latest.value.answer,
            decimals=decimals.value,
            updated_at_s=latest.value.updated_at_s,
        )
    return answers
