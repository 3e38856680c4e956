"""Deliveries in PostgreSQL: attempts, admission, pausing, ordering, circuits, redrives and replays."""
