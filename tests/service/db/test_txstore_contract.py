"""The SQL store keeps the contract of the engine's stores, on both databases."""

import pytest

from service.db.engine import Database
from service.db.txstore import SqlTxStore
from tests.chains.tx.store_contract import TxStoreContract


class TestSqlTxStore(TxStoreContract):
    @pytest.fixture
    def store(self) -> SqlTxStore:
        return SqlTxStore()

    @pytest.fixture
    def uow(self, db: Database) -> Database:
        return db
