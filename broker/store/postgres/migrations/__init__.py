"""The store's schema: one numbered ``.sql`` file per step, applied by alembic."""
