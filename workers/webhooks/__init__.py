"""Webhooks: requests to receivers that are not trusted, over connections of our own."""
