"""Alembic's entry: runs the revisions on the connection that `upgrade.py` hands over, in its open transaction."""

from alembic import context

from service.db.models import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite's DDL is transactional too, once pysqlite's own BEGINs are off.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
