"""Alembic revisions and the code that applies them. `upgrade.py` is the way in; there is no alembic.ini."""
