"""What all tests of the service have: key files that open quickly."""

from collections.abc import Iterator
from functools import partial

import pytest

from chains.signing.keystore import MIN_SCRYPT_N, Keystore


@pytest.fixture(scope="session", autouse=True)
def light_keystores() -> Iterator[None]:
    """A service's key files cost milliseconds here, not the second that they cost an attacker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.build.Keystore", partial(Keystore, scrypt_n=MIN_SCRYPT_N))
        yield
