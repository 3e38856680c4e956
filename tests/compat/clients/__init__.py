"""Clients: our two packages, and those that generators make of the OpenAPI document."""
