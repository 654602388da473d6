"""Alembic's entry: runs the migrations on the connection that `storage.migrate` hands over."""

from alembic import context

from oracle_lib.storage.tables import metadata


def _is_ours(name: str | None, kind: str, _: object) -> bool:
    """Leave partitions alone: they come and go with the days."""
    if kind == "schema":
        return name == metadata.schema
    if kind == "table":
        return f"{metadata.schema}.{name}" in metadata.tables
    return True


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    include_schemas=True,
    include_name=_is_ours,
    version_table_schema=metadata.schema,
)
with context.begin_transaction():
    context.run_migrations()
