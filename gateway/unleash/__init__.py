"""Unleash's API for signal endpoints: ``/api/signal-endpoint/{name}`` and ``/api/admin/signal-endpoints``."""
