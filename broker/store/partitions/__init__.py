"""Partitions of the tables that grow: made ahead, detached and dropped."""
