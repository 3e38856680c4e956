"""Users, tokens, signal endpoints, webhook keys and the audit log in PostgreSQL."""
