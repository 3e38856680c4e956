"""The store: PostgreSQL, with one class per noun and its SQL in files."""
