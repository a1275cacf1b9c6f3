"""Hashing in bounded threads, and which passwords are refused."""

import asyncio

import pytest

from service.accounts import passwords
from service.accounts.passwords import PasswordHasher, check_strength
from service.auth.secrets import MasterKey
from service.errors import ApiError

GOOD = "correct horse battery staple"


@pytest.fixture
def hasher() -> PasswordHasher:
    return PasswordHasher(time_cost=1, memory_kib=64)


async def test_a_password_is_right_and_another_is_not(hasher: PasswordHasher) -> None:
    master = MasterKey()
    stored = await hasher.hash(GOOD, master=master)
    assert stored.startswith("$argon2id$")
    assert await hasher.verify(stored, GOOD, master=master)
    assert not await hasher.verify(stored, GOOD + "r", master=master)


async def test_a_stolen_hash_is_no_use_without_the_master_key(hasher: PasswordHasher) -> None:
    """F84: what a copy of the database is good for."""
    stored = await hasher.hash(GOOD, master=MasterKey())
    assert not await hasher.verify(stored, GOOD, master=MasterKey())


async def test_nobody_costs_a_hash_as_somebody_does_and_is_never_right() -> None:
    """F73: the stand-in has the parameters of real hashes, and argon2 runs through."""
    hasher = PasswordHasher()
    assert not await hasher.verify(None, GOOD, master=MasterKey())
    assert hasher.hashed == 1
    real = (await hasher.hash(GOOD, master=MasterKey())).split("$")
    stand_in = hasher._nobodys.split("$")
    assert stand_in[:4] == real[:4]
    assert [len(part) for part in stand_in] == [len(part) for part in real]


async def test_a_flood_is_refused_rather_than_queued_for_ever(hasher: PasswordHasher) -> None:
    """F87: as many at once as there are threads, and a short queue."""
    room = passwords.THREADS + passwords.MAX_WAITING
    asked = [asyncio.create_task(hasher.hash(GOOD, master=MasterKey())) for _ in range(room + 5)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    refused = [result for result in results if isinstance(result, ApiError)]
    assert [error.code for error in refused] == ["busy"] * 5
    assert isinstance(await hasher.hash(GOOD, master=MasterKey()), str)


@pytest.mark.parametrize("text", ["short", "a" * 40, "ada-ada-ada-1", "x" * 300, "ADA12345678"])
def test_easy_passwords_are_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        check_strength(text, name="ada")
    assert refused.value.code == "weak_password"
    assert text not in refused.value.message


async def test_one_password_typed_on_two_keyboards_is_one(hasher: PasswordHasher) -> None:
    master = MasterKey()
    stored = await hasher.hash("caf\u00e9 au lait, merci", master=master)
    assert await hasher.verify(stored, "cafe\u0301 au lait, merci", master=master)
