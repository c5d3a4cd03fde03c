"""What Alembic runs: the revisions of both packages over the connection that ``storage.engine`` gives."""

from alembic import context

import subscribers.tables
from syndicate.storage import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=[subscribers.tables.metadata, tables.metadata],
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
