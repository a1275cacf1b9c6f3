"""The pool's decisions, call by call, over scripted nodes."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from chains.errors import (
    MethodUnavailable,
    RpcError,
    RpcNotSent,
    RpcProtocolError,
    RpcRefused,
    RpcThrottled,
    RpcUnavailable,
)
from chains.rpc.budget import Budget
from chains.rpc.endpoint import EndpointConfig
from chains.rpc.health import HealthPolicy, State
from chains.rpc.policy import PoolPolicy
from chains.rpc.pool import RpcPool
from chains.rpc.quorum import QuorumNotReached, canonical
from chains.rpc.transport import Transport
from chains.types import BlockHash, ChainId
from tests.chains.rpc.scripted import GENESIS, ScriptedTransport, down, refused, until
from tests.clock import FakeClock

RAW = "0x02" + "ab" * 40
RAW_HASH = "0x" + keccak(hexstr=RAW).hex()
OTHER_GENESIS = "0x" + "77" * 32
ADDRESS = "0x" + "11" * 20


def pool_of(
    *endpoints: ScriptedTransport | EndpointConfig,
    clock: FakeClock | None = None,
    policy: PoolPolicy | None = None,
    genesis: str | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> RpcPool:
    return RpcPool(
        [one if isinstance(one, EndpointConfig) else EndpointConfig(transport=one) for one in endpoints],
        name="ethereum",
        chain_id=ChainId(1),
        clock=clock or FakeClock(),
        genesis=BlockHash(genesis) if genesis else None,
        policy=policy or PoolPolicy(hedge_after_s=None),
        rng=random.Random(1),
        sleep=sleep,
    )


def states(pool: RpcPool) -> list[str]:
    return [endpoint.state for endpoint in pool.figures().endpoints]


async def block_number(pool: RpcPool) -> int:
    return int(await pool.request("eth_blockNumber", []), 16)


# -- dialling -----------------------------------------------------------------------------------------------


def test_a_pool_is_a_transport_and_does_nothing_before_it_is_used() -> None:
    node = ScriptedTransport("a")
    pool: Transport = pool_of(node)
    assert pool.name == "ethereum"
    assert node.calls == []


async def test_the_first_use_checks_chain_id_and_genesis_before_anything_else() -> None:
    node = ScriptedTransport("a")
    assert await block_number(pool_of(node, genesis=GENESIS)) == 100
    first = [method for method, _ in node.calls[:5]]
    assert first[0] == "eth_chainId"
    assert ("eth_getBlockByNumber", ["0x0", False]) in node.calls[:5]
    assert node.calls[5][0] == "eth_blockNumber"


async def test_F21_an_endpoint_of_another_chain_id_is_never_used() -> None:
    wrong, right = ScriptedTransport("wrong", chain_id=5, head=900), ScriptedTransport("right")
    pool = pool_of(wrong, right)
    assert await block_number(pool) == 100
    assert states(pool) == ["wrong_chain", "alive"]
    await pool.request("eth_sendRawTransaction", [RAW])
    await pool.settle()
    assert wrong.count("eth_sendRawTransaction") == 0
    right.failure = down()
    with pytest.raises(RpcUnavailable):
        await block_number(pool)
    assert wrong.count("eth_blockNumber") == 0


async def test_F21_an_endpoint_that_forked_off_with_the_same_id_is_never_used() -> None:
    fork, right = ScriptedTransport("fork"), ScriptedTransport("right")
    fork.genesis = OTHER_GENESIS
    pool = pool_of(fork, right, genesis=GENESIS)
    assert await block_number(pool) == 100
    assert states(pool) == ["wrong_chain", "alive"]


async def test_F21_a_switch_of_the_chain_is_seen_by_the_next_probe_and_after_a_reconnect() -> None:
    one, two = ScriptedTransport("one"), ScriptedTransport("two")
    pool = pool_of(one, two, genesis=GENESIS)
    await pool.probe()
    assert states(pool) == ["alive", "alive"]
    one.chain_id = 5
    await pool.probe()
    assert states(pool) == ["wrong_chain", "alive"]

    two.failure = down()
    with pytest.raises(RpcUnavailable):
        await block_number(pool)
    two.failure, two.genesis = None, OTHER_GENESIS
    with pytest.raises(RpcUnavailable, match="genesis"):
        await block_number(pool)
    assert states(pool) == ["wrong_chain", "wrong_chain"]
    with pytest.raises(RpcUnavailable, match="every endpoint serves another chain"):
        await block_number(pool)
    with pytest.raises(RpcNotSent):
        await pool.request("eth_sendRawTransaction", [RAW])


async def test_F21_quarantine_ends_when_the_chain_is_right_again() -> None:
    node = ScriptedTransport("a", chain_id=5)
    pool = pool_of(node)
    await pool.probe()
    node.chain_id = 1
    await pool.probe()
    assert states(pool) == ["wrong_chain"]
    await pool.probe()
    assert states(pool) == ["alive"]


async def test_reads_that_wait_for_one_dial_share_its_failure() -> None:
    node = ScriptedTransport("a")
    pool = pool_of(node)
    node.gate, node.failure = asyncio.Event(), down("no answer in time")
    reads = [asyncio.create_task(pool.request("eth_blockNumber", [])) for _ in range(50)]
    await until(lambda: node.count("eth_chainId") == 1)
    node.gate.set()
    outcomes = await asyncio.gather(*reads, return_exceptions=True)
    assert all(isinstance(outcome, RpcUnavailable) for outcome in outcomes)
    assert node.count("eth_chainId") == 1
    node.failure = None
    assert await block_number(pool) == 100


async def test_without_a_known_genesis_the_first_endpoint_tells_it() -> None:
    first, second = ScriptedTransport("first"), ScriptedTransport("second")
    second.genesis = OTHER_GENESIS
    pool = pool_of(first, second)
    await block_number(pool)
    await pool.probe()
    assert states(pool) == ["alive", "wrong_chain"]


# -- reads --------------------------------------------------------------------------------------------------


async def test_a_read_goes_to_the_next_endpoint_when_one_fails() -> None:
    one, two = ScriptedTransport("one"), ScriptedTransport("two")
    pool = pool_of(one, two)
    await pool.probe()
    one.failure = down()
    assert await block_number(pool) == 100
    one.failure = RpcProtocolError("not JSON", endpoint="one", method="x")
    assert await block_number(pool) == 100
    assert pool.figures().failovers == 2


async def test_a_nodes_verdict_on_a_call_is_final() -> None:
    one, two = ScriptedTransport("one"), ScriptedTransport("two")
    pool = pool_of(one, two)
    one.on["eth_call"] = refused("execution reverted: header not found", code=3, data="0x")
    with pytest.raises(RpcRefused, match="execution reverted"):
        await pool.request("eth_call", [{}, "0x5"])
    assert two.count("eth_call") == 0


async def test_F46_missing_state_is_asked_elsewhere_and_is_never_a_zero() -> None:
    pruned, archive = ScriptedTransport("pruned"), ScriptedTransport("archive")
    pool = pool_of(pruned, archive)
    for text in ("missing trie node 4ce3 (path ) state is not available", "header not found", "unknown block"):
        pruned.on["eth_getBalance"] = refused(text)
        archive.on["eth_getBalance"] = "0x2a"
        assert await pool.request("eth_getBalance", [ADDRESS, "0x5"]) == "0x2a"
        archive.on["eth_getBalance"] = refused(text)
        with pytest.raises(RpcRefused, match=text.split()[0]):
            await pool.request("eth_getBalance", [ADDRESS, "0x5"])


async def test_a_method_that_one_node_lacks_is_asked_of_another() -> None:
    one, two = ScriptedTransport("one"), ScriptedTransport("two")
    pool = pool_of(one, two)
    lacking = MethodUnavailable("no such method", endpoint="one", method="eth_simulateV1", code=-32601)
    one.on["eth_simulateV1"] = lacking
    two.on["eth_simulateV1"] = [{"calls": []}]
    assert await pool.request("eth_simulateV1", [{}, "0x5"]) == [{"calls": []}]
    two.on["eth_simulateV1"] = lacking
    with pytest.raises(MethodUnavailable):
        await pool.request("eth_simulateV1", [{}, "0x5"])


async def test_of_a_batch_only_what_has_no_answer_goes_elsewhere() -> None:
    one, two = ScriptedTransport("one"), ScriptedTransport("two")
    pool = pool_of(one, two)
    await pool.probe()
    one.on["eth_getCode"] = refused("missing trie node")
    two.on["eth_getCode"] = "0xfe"
    two.calls.clear()
    answers = await pool.batch([("eth_blockNumber", []), ("eth_getCode", [ADDRESS, "0x5"]), ("eth_chainId", [])])
    assert answers == ["0x64", "0xfe", "0x1"]
    assert two.calls == [("eth_getCode", [ADDRESS, "0x5"])]


async def test_a_block_that_should_exist_is_asked_elsewhere_before_null_is_believed() -> None:
    behind, ahead = ScriptedTransport("behind", head=98), ScriptedTransport("ahead", head=100)
    pool = pool_of(behind, ahead)
    await pool.probe()
    assert await block_number(pool) == 98
    ahead.calls.clear()
    assert await pool.request("eth_getBlockByNumber", ["0x61", False]) == behind.header(0x61)
    assert ahead.calls == []
    behind.on["eth_getBlockByNumber"] = None
    assert await pool.request("eth_getBlockByNumber", ["0x61", False]) == ahead.header(0x61)
    assert await pool.request("eth_getBlockByNumber", ["0x100", False]) is None


async def test_F32_logs_past_an_endpoints_head_are_not_an_empty_list() -> None:
    behind, ahead = ScriptedTransport("behind", head=98), ScriptedTransport("ahead", head=100)
    behind.on["eth_getLogs"], ahead.on["eth_getLogs"] = [], [{"address": ADDRESS}]
    pool = pool_of(behind, ahead)
    await pool.probe()
    query = {"fromBlock": "0x50", "toBlock": "0x64"}
    assert await pool.request("eth_getLogs", [query]) == [{"address": ADDRESS}]
    assert behind.count("eth_getLogs") == 0
    ahead.failure = down()
    with pytest.raises(RpcUnavailable, match="has not reached block 100"):
        await pool.request("eth_getLogs", [query])
    behind.head = 100
    assert await pool.request("eth_getLogs", [query]) == []


async def test_errors_and_figures_name_endpoints_only() -> None:
    one, two = ScriptedTransport("one"), ScriptedTransport("two")
    one.failure, two.failure = down("no answer in time"), down("HTTP 503")
    pool = pool_of(one, two)
    with pytest.raises(RpcUnavailable, match=r"no endpoint answered: .*no answer in time; .*HTTP 503"):
        await block_number(pool)
    assert [endpoint.name for endpoint in pool.figures().endpoints] == ["one", "two"]


async def test_the_last_usable_endpoint_is_never_disabled() -> None:
    lagging, dead = ScriptedTransport("lagging", head=10, finalized=5), ScriptedTransport("dead", head=100)
    pool = pool_of(lagging, dead)
    dead.head, lagging.head = 100, 10
    await pool.probe()
    assert states(pool) == ["lagging", "alive"]
    assert await block_number(pool) == 100
    dead.failure = down()
    for _ in range(3):
        await pool.probe()
    assert states(pool) == ["lagging", "unreachable"]
    assert await pool.request("eth_getBalance", [ADDRESS, "latest"]) == hex(10)
    lagging.failure = down()
    for _ in range(3):
        await pool.probe()
    assert states(pool) == ["unreachable", "unreachable"]
    lagging.failure = None
    assert await pool.request("eth_getBalance", [ADDRESS, "latest"]) == hex(10)


async def test_F39_a_lagging_endpoint_answers_no_read_at_latest_while_others_are_alive() -> None:
    stale, one, two = ScriptedTransport("stale", head=50), ScriptedTransport("one"), ScriptedTransport("two")
    pool = pool_of(stale, one, two)
    await pool.probe()
    assert states(pool) == ["lagging", "alive", "alive"]
    stale.calls.clear()
    for _ in range(5):
        assert await pool.request("eth_getBalance", [ADDRESS, "latest"]) == hex(100)
    one.failure = two.failure = down()
    with pytest.raises(RpcUnavailable):
        await pool.request("eth_getBalance", [ADDRESS, "latest"])
    assert stale.calls == []


async def test_one_endpoint_far_ahead_does_not_make_two_others_lag() -> None:
    liar, one, two = ScriptedTransport("liar", head=10**9), ScriptedTransport("one"), ScriptedTransport("two")
    pool = pool_of(one, two, liar)
    await pool.probe()
    await pool.probe()
    assert states(pool)[:2] == ["alive", "alive"]
    one.failure = two.failure = down()
    with pytest.raises(RpcError, match="far above"):
        await block_number(pool)
    one.failure = two.failure = None
    assert await block_number(pool) == 100


# -- monotonic reads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tag", "field"), [("latest", "head"), ("finalized", "finalized")])
async def test_F39_a_block_older_than_one_already_answered_is_never_answered(tag: str, field: str) -> None:
    one, two = ScriptedTransport("one"), ScriptedTransport("two")
    pool = pool_of(one, two)
    await pool.probe()

    async def number() -> int:
        return int((await pool.request("eth_getBlockByNumber", [tag, False]))["number"], 16)

    highest = await number()
    setattr(one, field, highest - 1)
    assert await number() == highest
    setattr(two, field, highest - 2)
    with pytest.raises(RpcUnavailable, match="was served"):
        await number()
    setattr(two, field, highest + 1)
    assert await number() == highest + 1
    assert pool.figures().older_refused > 0


async def test_the_head_may_go_back_after_no_endpoint_had_it_for_a_while_but_finalized_never() -> None:
    clock, node = FakeClock(), ScriptedTransport("a")
    pool = pool_of(node, clock=clock)
    assert await block_number(pool) == 100
    assert (await pool.request("eth_getBlockByNumber", ["finalized", False]))["number"] == hex(64)
    node.head, node.finalized = 98, 60
    with pytest.raises(RpcUnavailable):
        await block_number(pool)
    clock.advance_ms(31_000)
    assert await block_number(pool) == 98
    assert pool.figures().head_rewinds == 1
    clock.advance_ms(10**9)
    with pytest.raises(RpcUnavailable):
        await pool.request("eth_getBlockByNumber", ["finalized", False])


async def test_an_answer_overtaken_by_a_newer_one_is_asked_again() -> None:
    node = ScriptedTransport("a")
    pool = pool_of(node)
    await block_number(pool)
    heads = iter(["0x63", "0x65"])
    node.on["eth_blockNumber"] = lambda params: next(heads)
    assert await block_number(pool) == 0x65


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 200), st.booleans()), min_size=1, max_size=30))
def test_I12_finalized_never_decreases_whatever_the_endpoints_say(script: list[tuple[int, int, bool]]) -> None:
    async def play() -> list[int]:
        nodes = [ScriptedTransport(f"n{index}", head=1000, finalized=0) for index in range(3)]
        pool, seen = pool_of(*nodes), []
        for index, finalized, is_down in script:
            nodes[index].finalized = finalized
            nodes[index].failure = down() if is_down else None
            try:
                answer = await pool.request("eth_getBlockByNumber", ["finalized", False])
            except RpcError:
                continue
            seen.append(int(answer["number"], 16))
        return seen

    seen = asyncio.run(play())
    assert seen == sorted(seen)


# -- slowness, budgets, throttling ---------------------------------------------------------------------------


async def test_a_slow_read_is_hedged_and_the_first_answer_wins() -> None:
    slow, fast = ScriptedTransport("slow"), ScriptedTransport("fast")
    pool = pool_of(slow, fast, policy=PoolPolicy(hedge_after_s=0.01))
    await pool.probe()
    slow.gate = asyncio.Event()
    fast.on["eth_getBalance"] = "0x2a"
    assert await pool.request("eth_getBalance", [ADDRESS, "0x5"]) == "0x2a"
    figures = pool.figures()
    assert (figures.hedges, [endpoint.in_flight for endpoint in figures.endpoints]) == (1, [0, 0])


async def test_F42_a_throttled_endpoint_is_left_alone_for_as_long_as_it_asked() -> None:
    clock, one, two = FakeClock(), ScriptedTransport("one"), ScriptedTransport("two")
    pool = pool_of(one, two, clock=clock)
    await pool.probe()
    one.failure = RpcThrottled("HTTP 429", endpoint="one", method="x", retry_after_s=10)
    await block_number(pool)
    one.failure = None
    one.calls.clear()
    for _ in range(5):
        await block_number(pool)
    await pool.probe()
    assert one.calls == []
    assert states(pool) == ["alive", "alive"]
    clock.advance_ms(11_000)
    await block_number(pool)
    assert one.count("eth_blockNumber") == 1
    assert pool.figures().endpoints[0].throttled == 1


async def test_F42_a_rate_limit_in_a_json_error_counts_as_throttling() -> None:
    one, two = ScriptedTransport("one"), ScriptedTransport("two")
    pool = pool_of(one, two)
    one.on["eth_getBalance"] = refused("daily request count exceeded, request rate limited", code=-32005)
    two.on["eth_getBalance"] = "0x2a"
    assert await pool.request("eth_getBalance", [ADDRESS, "0x5"]) == "0x2a"
    assert pool.figures().endpoints[0].throttled == 1


async def test_F42_reads_over_the_budget_go_elsewhere_and_then_wait() -> None:
    clock, slept = FakeClock(), []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    one, two = ScriptedTransport("one"), ScriptedTransport("two")
    tight = Budget(rate_per_s=1, burst=10, for_sends=2)
    pool = pool_of(
        EndpointConfig(transport=one, budget=tight),
        EndpointConfig(transport=two, budget=tight),
        clock=clock,
        sleep=sleep,
    )
    await pool.probe()  # five calls each
    for _ in range(6):
        await block_number(pool)
    assert (one.count("eth_blockNumber"), two.count("eth_blockNumber"), slept) == (3, 3, [])
    await block_number(pool)
    assert slept == [pytest.approx(1.0)]
    for _ in range(9):  # up to five seconds at each of the two
        await block_number(pool)
    with pytest.raises(RpcError, match="asked too often"):
        await block_number(pool)


async def test_F42_sends_wait_for_no_budget_and_no_back_off() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    node = ScriptedTransport("one")
    pool = pool_of(EndpointConfig(transport=node, budget=Budget(rate_per_s=1, burst=8, for_sends=1)), sleep=sleep)
    await pool.probe()
    node.on["eth_blockNumber"] = RpcThrottled("HTTP 429", endpoint="one", method="x", retry_after_s=100)
    with pytest.raises(RpcThrottled):
        await block_number(pool)
    with pytest.raises(RpcThrottled):
        await block_number(pool)
    assert node.count("eth_blockNumber") == 1
    for _ in range(20):
        assert await pool.request("eth_sendRawTransaction", [RAW]) == RAW_HASH
    assert slept == []


# -- sends --------------------------------------------------------------------------------------------------


async def test_a_raw_transaction_goes_to_every_endpoint_send_only_ones_included() -> None:
    one, two, relay = (ScriptedTransport(name) for name in ("one", "two", "relay"))
    pool = pool_of(one, two, EndpointConfig(transport=relay, send_only=True))
    await pool.probe()
    assert await pool.request("eth_sendRawTransaction", [RAW]) == RAW_HASH
    await pool.settle()
    assert [node.count("eth_sendRawTransaction") for node in (one, two, relay)] == [1, 1, 1]


async def test_where_there_is_a_private_endpoint_a_raw_transaction_goes_nowhere_else() -> None:
    one, relay, private = ScriptedTransport("one"), ScriptedTransport("relay"), ScriptedTransport("private")
    pool = pool_of(
        one,
        EndpointConfig(transport=relay, send_only=True),
        EndpointConfig(transport=private, send_only=True, private=True),
    )
    await pool.probe()
    assert await pool.request("eth_sendRawTransaction", [RAW]) == RAW_HASH
    await pool.settle()
    assert [node.count("eth_sendRawTransaction") for node in (one, relay, private)] == [0, 0, 1]
    assert {method for method, _ in private.calls} == {"eth_sendRawTransaction"}


def test_a_private_endpoint_is_not_read_from() -> None:
    with pytest.raises(ValueError, match="send-only"):
        pool_of(ScriptedTransport("one"), EndpointConfig(transport=ScriptedTransport("a"), private=True))


async def test_a_send_only_endpoint_sees_nothing_but_sends() -> None:
    one, relay = ScriptedTransport("one"), ScriptedTransport("relay")
    pool = pool_of(EndpointConfig(transport=relay, send_only=True), one, policy=PoolPolicy(hedge_after_s=0.001))
    await pool.probe()
    await block_number(pool)
    await pool.quorum("eth_getBalance", [ADDRESS, "0x5"])
    await pool.request("eth_sendRawTransaction", [RAW])
    await pool.settle()
    one.failure = down()
    with pytest.raises(RpcUnavailable):
        await block_number(pool)
    assert {method for method, _ in relay.calls} == {"eth_sendRawTransaction"}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("text", "contradictions"),
    [
        ("insufficient funds for gas * price + value", 1),
        ("intrinsic gas too low", 1),
        ("already known", 0),
        ("nonce too low", 0),
    ],
)
async def test_F45_success_beats_error_and_contradictions_are_counted(
    text: str, contradictions: int, first: bool
) -> None:
    good, bad = ScriptedTransport("good"), ScriptedTransport("bad")
    bad.on["eth_sendRawTransaction"] = refused(text)
    pool = pool_of(good, bad)
    await pool.probe()
    late = good if not first else bad
    late.gate = asyncio.Event()
    sending = asyncio.create_task(pool.request("eth_sendRawTransaction", [RAW]))
    early = good if first else bad
    await until(lambda: early.count("eth_sendRawTransaction") > 0)
    late.gate.set()
    assert await sending == RAW_HASH
    await pool.settle()
    assert pool.figures().contradictions == contradictions


async def test_a_success_is_returned_without_waiting_for_the_slowest_endpoint() -> None:
    fast, silent = ScriptedTransport("fast"), ScriptedTransport("silent")
    pool = pool_of(fast, silent)
    await pool.probe()
    silent.gate = asyncio.Event()
    assert await pool.request("eth_sendRawTransaction", [RAW]) == RAW_HASH
    silent.gate.set()
    await pool.settle()
    assert silent.count("eth_sendRawTransaction") == 1


async def send_to(policy: PoolPolicy | None = None, **answers: Any) -> RpcError:
    """What a send ends with when each endpoint answers so; None is an endpoint that never answers."""
    nodes = [ScriptedTransport(name) for name in answers]
    pool = pool_of(*nodes, policy=policy)
    await pool.probe()
    for node, answer in zip(nodes, answers.values(), strict=True):
        if answer is None:
            node.gate = asyncio.Event()
        node.on["eth_sendRawTransaction"] = answer
    with pytest.raises(RpcError) as raised:
        await pool.request("eth_sendRawTransaction", [RAW])
    await pool.close()
    return raised.value


async def test_while_one_outcome_is_unknown_a_permanent_refusal_is_not_believed() -> None:
    refusal = refused("intrinsic gas too low")
    outcome = await send_to(one=refusal, two=down("no answer in time"))
    assert isinstance(outcome, RpcUnavailable)
    assert not isinstance(outcome, RpcRefused)
    quick = PoolPolicy(send_timeout_s=0.02)
    assert isinstance(await send_to(quick, one=refusal, two=None), RpcUnavailable)


async def test_an_endpoint_that_nothing_left_for_does_not_make_an_outcome_unknown() -> None:
    never_left = RpcNotSent("no connection", endpoint="two", method="x")
    assert isinstance(await send_to(one=refused("intrinsic gas too low"), two=never_left), RpcRefused)
    assert isinstance(await send_to(one=never_left, two=never_left), RpcNotSent)


async def test_without_a_success_the_verdict_whose_consequence_can_be_taken_back_is_answered() -> None:
    outcome = await send_to(one=refused("intrinsic gas too low"), two=refused("already known"))
    assert isinstance(outcome, RpcRefused)
    assert outcome.node_message == "already known"
    outcome = await send_to(one=refused("insufficient funds for gas"), two=refused("nonce too low"), three=down())
    assert isinstance(outcome, RpcRefused)
    assert outcome.node_message == "nonce too low"


async def test_another_transactions_hash_is_no_success() -> None:
    outcome = await send_to(one="0x" + "ab" * 32)
    assert isinstance(outcome, RpcProtocolError)


async def test_a_batch_of_sends_merges_the_answers_one_by_one() -> None:
    raws = ["0x02" + f"{index:02x}" * 40 for index in range(3)]
    one, two = ScriptedTransport("one"), ScriptedTransport("two")
    pool = pool_of(one, two)
    await pool.probe()

    def refuse(index: int) -> Callable[[Sequence[Any]], Any]:
        return lambda params: (
            refused("intrinsic gas too low")
            if params[0] in (raws[index], raws[2])
            else "0x" + keccak(hexstr=params[0]).hex()
        )

    one.on["eth_sendRawTransaction"], two.on["eth_sendRawTransaction"] = refuse(0), refuse(1)
    sends = [("eth_sendRawTransaction", [raw]) for raw in raws]
    answers = await pool.batch([("eth_chainId", []), *sends])
    assert answers[0] == "0x1"
    assert answers[1:3] == ["0x" + keccak(hexstr=raw).hex() for raw in raws[:2]]
    assert isinstance(answers[3], RpcRefused)
    assert pool.figures().contradictions == 2


async def test_closing_ends_what_is_still_being_sent_and_closes_every_endpoint() -> None:
    fast, silent = ScriptedTransport("fast"), ScriptedTransport("silent")
    pool = pool_of(fast, silent)
    await pool.probe()
    silent.gate = asyncio.Event()
    await pool.request("eth_sendRawTransaction", [RAW])
    await pool.close()
    assert fast.is_closed
    assert silent.is_closed


# -- quorum -------------------------------------------------------------------------------------------------


async def test_F40_a_lie_needs_two_tellers() -> None:
    liar, one, two = ScriptedTransport("liar"), ScriptedTransport("one"), ScriptedTransport("two")
    liar.on["eth_getBalance"] = hex(10**30)
    one.on["eth_getBalance"] = two.on["eth_getBalance"] = "0x2A"
    two.on["eth_getBalance"] = "0x2a"
    pool = pool_of(liar, one, two)
    answer = await pool.quorum("eth_getBalance", [ADDRESS, "0x5"])
    assert (answer.value, answer.agreed, answer.asked, answer.is_degraded) == ("0x2A", 2, 3, False)
    assert pool.figures().quorum_disagreements == 1
    two.failure = down()
    with pytest.raises(QuorumNotReached) as raised:
        await pool.quorum("eth_getBalance", [ADDRESS, "0x5"])
    assert raised.value.retry == "same"


async def test_with_one_endpoint_a_quorum_says_that_it_is_degraded() -> None:
    node = ScriptedTransport("only")
    pool = pool_of(node)
    answer = await pool.quorum("eth_blockNumber", [])
    assert (answer.value, answer.is_degraded) == ("0x64", True)
    assert pool.figures().quorum_degraded == 1


async def test_with_two_configured_and_one_down_a_quorum_does_not_degrade() -> None:
    one, two = ScriptedTransport("one"), ScriptedTransport("two")
    two.failure = down()
    with pytest.raises(QuorumNotReached):
        await pool_of(one, two).quorum("eth_getBalance", [ADDRESS, "0x5"])


async def test_a_third_endpoint_is_asked_only_when_two_do_not_agree() -> None:
    nodes = [ScriptedTransport(name) for name in ("one", "two", "three")]
    pool = pool_of(*nodes)
    await pool.probe()
    await pool.quorum("eth_getBalance", [ADDRESS, "0x5"])
    assert [node.count("eth_getBalance") for node in nodes] == [1, 1, 0]


async def test_a_silent_voter_makes_way_for_the_next() -> None:
    nodes = [ScriptedTransport(name) for name in ("silent", "two", "three")]
    pool = pool_of(*nodes, policy=PoolPolicy(quorum_timeout_s=0.01))
    await pool.probe()
    nodes[0].gate = asyncio.Event()
    answer = await pool.quorum("eth_getBalance", [ADDRESS, "0x5"])
    assert (answer.agreed, answer.asked) == (2, 3)


async def test_missing_state_is_no_vote_but_a_revert_is() -> None:
    nodes = [ScriptedTransport(name) for name in ("one", "two", "three")]
    pool = pool_of(*nodes)
    nodes[0].on["eth_call"] = refused("missing trie node")
    for node in nodes[1:]:
        node.on["eth_call"] = refused("execution reverted", code=3, data="0xAB")
    with pytest.raises(RpcRefused, match="execution reverted"):
        await pool.quorum("eth_call", [{}, "0x5"])


async def test_the_quorum_view_is_a_transport_whose_reads_are_quorum_reads() -> None:
    liar, one, two = ScriptedTransport("liar"), ScriptedTransport("one"), ScriptedTransport("two")
    liar.on["eth_getBalance"] = "0x1"
    pool = pool_of(liar, one, two)
    view: Transport = pool.with_quorum()
    assert await view.request("eth_getBalance", [ADDRESS, "0x5"]) == hex(100)
    assert await view.batch([("eth_getBalance", [ADDRESS, "0x5"]), ("eth_chainId", [])]) == [hex(100), "0x1"]
    assert await view.request("eth_sendRawTransaction", [RAW]) == RAW_HASH
    one.failure = two.failure = down()
    [missing] = await view.batch([("eth_getBalance", [ADDRESS, "0x5"])])
    assert isinstance(missing, QuorumNotReached)


def test_answers_are_compared_on_what_the_specification_fixes() -> None:
    receipt = {"transactionHash": "0xAA", "status": "0x1", "blockHash": "0xbb", "logs": [{"data": "0x", "topics": []}]}
    same = {**receipt, "transactionHash": "0xaa", "blobGasPrice": "0x1"}
    same["logs"] = [{"data": "0x", "topics": [], "blockTimestamp": "0x5"}]
    other = {**receipt, "status": "0x0"}
    method = "eth_getTransactionReceipt"
    assert canonical(method, receipt) == canonical(method, same)
    assert canonical(method, receipt) != canonical(method, other)
    assert canonical(method, receipt) != canonical(method, None)


# -- care ---------------------------------------------------------------------------------------------------


async def test_the_probe_loop_finds_and_forgives_until_it_is_stopped() -> None:
    one, two = ScriptedTransport("one"), ScriptedTransport("two")
    pool = pool_of(one, two, policy=PoolPolicy(probe_every_s=0.001, health=HealthPolicy(fail_after=2)))
    stop = asyncio.Event()

    async with asyncio.TaskGroup() as group:
        group.create_task(pool.run(stop))
        await until(lambda: states(pool) == ["alive", "alive"])
        two.failure = down()
        await until(lambda: states(pool) == ["alive", "unreachable"])
        two.failure = None
        await until(lambda: states(pool) == ["alive", "alive"])
        stop.set()


async def test_a_probe_without_an_answer_is_a_failure() -> None:
    node = ScriptedTransport("silent")
    node.gate = asyncio.Event()
    pool = pool_of(node, policy=PoolPolicy(probe_timeout_s=0.01))
    await pool.probe()
    assert pool.figures().endpoints[0].failures == 1


async def test_changes_of_state_are_told_once() -> None:
    told: list[tuple[str, State, State]] = []
    node = ScriptedTransport("a")
    pool = RpcPool(
        [EndpointConfig(transport=node)],
        name="ethereum",
        chain_id=ChainId(1),
        clock=FakeClock(),
        on_change=lambda name, old, new: told.append((name, old, new)),
    )
    await pool.probe()
    await pool.probe()
    assert told == [("a", State.UNREACHABLE, State.ALIVE)]


def test_a_pool_without_a_readable_endpoint_or_with_equal_names_is_refused() -> None:
    with pytest.raises(ValueError, match="send-only"):
        pool_of(EndpointConfig(transport=ScriptedTransport("a"), send_only=True))
    with pytest.raises(ValueError, match="different names"):
        pool_of(ScriptedTransport("a"), ScriptedTransport("a"))
