"""The command line ``signal-broker``: composes the gateway and the workers; nothing imports it."""
