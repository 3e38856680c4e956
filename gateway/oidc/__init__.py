"""Callers with a token of an OpenID Connect issuer: its keys, what its tokens claim, and whom that makes them."""
