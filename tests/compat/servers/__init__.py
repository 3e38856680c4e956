"""Servers as they are run elsewhere, as receivers of webhooks while they are reloaded and restarted."""
