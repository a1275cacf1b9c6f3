"""${message}

Revision ${up_revision}, after ${down_revision or "nothing"}.
"""

# ruff: noqa: E501 - the text of a constraint is written on one line

import sqlalchemy as sa
from alembic import op

${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
