"""The store's schema: one numbered ``.sql`` file per step, applied by `broker.store.postgres.migrate`."""
