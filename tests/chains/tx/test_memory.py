"""The store in memory keeps the contract."""

import pytest

from chains.tx.memory import MemoryTxStore, MemoryUnitOfWork
from tests.chains.tx.store_contract import TxStoreContract


class TestMemoryTxStore(TxStoreContract):
    @pytest.fixture
    def store(self) -> MemoryTxStore:
        return MemoryTxStore()

    @pytest.fixture
    def uow(self) -> MemoryUnitOfWork:
        return MemoryUnitOfWork()
