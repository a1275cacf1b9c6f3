"""Chainlink price feeds (AggregatorV3Interface): the latest finished round.

Guarantees: a price is positive and belongs to a finished round, or `FeedUnusable` is raised. Not guaranteed: that it
is fresh; the caller knows the feed's heartbeat and compares `updated_at_s` with the block's time.
"""

from dataclasses import dataclass

from chains.types import Address, BlockRef, BlockTag
from chains.units import format_units
from contracts.abi import decode_output, encode_call, load_abi
from contracts.call import Call, ContractReader, call_one
from contracts.errors import FeedUnusable
from contracts.multicall import Reverted, aggregate


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
    rounds = await aggregate(
        client,
        [call for feed in feeds for call in (latest_round(feed), feed_decimals(feed))],
        multicall=multicall,
        block=block,
    )
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
