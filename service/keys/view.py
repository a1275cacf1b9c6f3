"""A key as its account's people and itself see it: names in place of ids, and never a secret."""

from sqlalchemy import Connection, select

from service.accounts import people, wallets
from service.auth import keys
from service.auth.budgets import DAY_MS
from service.auth.keys import ApiKey, Permission
from service.build import Services
from service.db.models import users
from service.keys import limits
from service.keys.schemas import KeyDestination, KeyOut, KeyWallet, Limits


def idle_ms(services: Services) -> int:
    """How long a key without networks lasts unused."""
    return services.settings.key_idle_days * DAY_MS


def shown(c: Connection, services: Services, key: ApiKey) -> KeyOut:
    """The key as it is now. Raises: authority.Tampered."""
    wallet = wallets.get_wallet(c, key.wallet_id, master=services.master)
    account = people.get_account(c, key.account_id)
    assert wallet is not None
    assert account is not None
    chains = {config.chain_id: config.key for config in services.configs.values()}
    idle = idle_ms(services)
    return KeyOut(
        key=key.id,
        label=key.label,
        state=key.state(services.clock.now_ms(), idle_ms=idle),
        account=account.name,
        wallet=KeyWallet(label=wallet.label, address=wallet.address),
        permissions=[permission for permission in Permission if permission in key.permissions],
        algorithm=key.algorithm,
        ip_allowlist=[str(network) for network in key.ip_allowlist],
        limits=Limits(**limits.shown(services, key.restrictions)),
        destinations=[
            KeyDestination(chain=chains.get(to.chain_id, str(to.chain_id)), address=to.address)
            for to in keys.list_destinations(c, key.id, master=services.master)
        ],
        made_by=_user_name(c, key.made_by),
        rotates=None if key.rotation is None else key.rotation.key_id,
        created_ms=key.created_ms,
        expires_ms=key.expires_ms,
        idle_end_ms=key.idle_end_ms(idle),
        lapses_ms=key.lapses_ms,
        last_used_ms=key.last_used_ms,
        calls_from_ms=key.calls_from_ms,
        revoked_ms=key.revoked_ms,
    )


def _user_name(c: Connection, user_id: int | None) -> str | None:
    return None if user_id is None else c.execute(select(users.c.name).where(users.c.id == user_id)).scalar()
