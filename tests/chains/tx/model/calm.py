"""How an example ends: faults stop, and everything has to come to its end; what only a person may do, a person does.

A person is there for what the engine must not decide: a foreign signer, a reorg below the cursor, endpoints that agreed
on something untrue, a cancel that the fee caps forbid. In all other examples nobody helps.
"""

from dataclasses import replace
from typing import Final

from chains.tx.model import Wish
from chains.tx.reasons import HoldCode, NoteCode
from tests.chains.tx.model import invariants
from tests.chains.tx.model.chain import GWEI
from tests.chains.tx.model.parts import FUNDS_WEI, RAISED_FEES
from tests.chains.tx.model.world import World

CALM_ROUNDS: Final = 90
"""Blocks in which all must come to its end once nothing goes wrong any more: far above any depth and bump limit."""


def calm(world: World) -> None:
    """Faults stop, the wallets are funded, blocks come; a person looks if that was needed at all."""
    for node in world.nodes:
        node.heal()
    world.silent_signatures = 0
    world.check.refusals, world.check.is_paused = 0, False
    world.chain.gate_is_shut = False
    # The lowest there was: what was made dearer as often as it may be is mined, too.
    world.chain.base_fee_wei, world.chain.tip_floor_wei = GWEI, 1
    world.arm(None)
    world.life.touches_left = None
    for key in world.keys:
        world.chain.move(key.address, FUNDS_WEI)
    for _ in range(CALM_ROUNDS):
        if has_ended(world):
            break
        if world.needs_person or world.setup.deep_reorgs or _is_contradicted(world) or _is_frozen_by_laggards(world):
            world.person_looks()
        if _is_capped(world):
            world.config = replace(world.config, fees=RAISED_FEES)
            world.restart()
        _others_send_again(world)
        world.chain.mine()
        world.step(after_ms=world.config.block_time_ms)


def has_ended(world: World) -> bool:
    return not any(invariants.I13_all_ended(world.facts()))


def _others_send_again(world: World) -> None:
    """What others had mined before our first nonce, and a reorg lost: without it nothing after it is mined."""
    taken = {(tx.lane.wallet, tx.nonce) for tx in world.books.state.txs.values()}
    for sent in world.seen_of_others:
        if sent.slot not in taken and sent.tx.nonce >= world.chain.account(sent.sender).nonce:
            world.chain.pool.setdefault(sent.slot, sent)


def _is_contradicted(world: World) -> bool:
    """Most endpoints said that a transaction is not where one had seen it: whom to believe is for a person."""
    held = [state.hold_reason or "" for state in world.books.state.lanes.values()]
    return len(world.nodes) > 1 and any(reason.startswith(HoldCode.CONTRADICTED) for reason in held)


def _is_frozen_by_laggards(world: World) -> bool:
    """Nodes that stand still on a branch that is gone look like a reorg of all that came since."""
    return bool(world.books.state.freezes) and any(node.stood_still for node in world.nodes)


def _is_capped(world: World) -> bool:
    """A slot is to be closed, its payload no longer sent, and a self-send that nodes would take for a replacement
    is above the caps: the engine says so and waits for a person, who raises them."""
    return world.config.fees is not RAISED_FEES and any(
        tx.wish is Wish.CANCEL and (tx.note or "").startswith(NoteCode.FEE_CAP) for tx in world.books.state.txs.values()
    )
