"""Rows that make no sense, since something else than the engine has written them: what they belong to stands still.

    queued plan     rejected by its id, with nothing taken; the lane goes on
    taken nonce     its lane takes no new work until a person has looked; the other slots of the lane go on as they are
    what follows    where a row that an observer needs makes no sense, the slot's change is not written, its lane is
                    held, and the change is tried again at each head

Guarantees: nothing is signed for what cannot be read, no lane or chain stands still for another one's row, and no
worker ends. The books' cursor goes on: of a lane held for this its slots are booked once the row has been put right,
since what is mined is looked up by its hash. Not guaranteed: that a slot whose rows name no wallet holds the lane
that it was of; it is told, and the lane finds a nonce that nothing of it explains.
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import TypeVar

from chains.tx.context import EngineParts
from chains.tx.model import Lane, Plan, TxId, Unusable
from chains.tx.reasons import HoldCode, RejectCode, reason
from chains.tx.store import StaleState, UnusableRow

U = TypeVar("U")

log = logging.getLogger(__name__)


def unusable_text(tx_ids: Sequence[TxId]) -> str:
    """For the reason of a hold."""
    named = ", ".join(str(tx_id) for tx_id in tx_ids)
    return (
        f"a row of transaction {named} makes no sense: something else has written it; find out what, and put it right"
    )


async def hold_lane(parts: EngineParts[U], lane: Lane, text: str) -> None:
    """Hold a lane, unless it is held: the first reason is the one to look into."""
    stored = reason(HoldCode.UNUSABLE_ROW, text)

    def work(u: U) -> bool:
        state = parts.store.lane(u, lane)
        if state is None or state.hold_reason is not None:
            return False
        parts.store.hold_lane(u, lane, stored)
        return True

    try:
        held = await parts.uow.run(work)
    except UnusableRow as exc:
        # The lane's own row: its worker cannot read it either, and places nothing.
        log.critical("%s stands still: %s (%s)", lane.wallet, text, exc)
        return
    if held:
        log.critical("%s takes no new work: %s", lane.wallet, stored)


async def hold_unusable(parts: EngineParts[U], found: Sequence[Unusable]) -> None:
    """Hold the lanes of slots that cannot be read."""
    for lane in sorted({one.lane for one in found if one.lane is not None}):
        await hold_lane(parts, lane, unusable_text([one.tx_id for one in found if one.lane == lane]))
    if nameless := [one.tx_id for one in found if one.lane is None]:
        log.critical("%s: of no wallet: %s", parts.config.key, unusable_text(nameless))


async def give_up_astray(parts: EngineParts[U], plans: Sequence[Plan]) -> None:
    """Reject queued plans that no lane has."""
    stored = reason(RejectCode.UNUSABLE_ROW, "whose it is makes no sense: something else has written it")
    for plan in plans:
        try:
            await parts.uow.run(partial(give_up, parts, plan, stored, started=None))
        except (StaleState, UnusableRow) as exc:
            log.critical("%s cannot be given up: %s", plan.id, exc)
        else:
            log.critical("%s is rejected: %s", plan.id, stored)


def give_up(parts: EngineParts[U], plan: Plan, stored: str, u: U, *, started: bool | None) -> None:
    """Reject what waits of a plan, and tell of it. `started`: some of its steps are placed; None: that is not known.

    Raises: StaleState: nothing of it waits.
    """
    store = parts.store
    if started is False:
        store.reject_plan(u, plan.id, stored)
    else:
        store.reject_rest(u, plan.id, stored)
    try:
        now = None if plan.unusable else store.plan(u, plan.id)
    except UnusableRow:
        now = None
    parts.observer.on_rejected(u, now or plan, stored)
