"""PostgreSQL itself: connections, statements, migrations, and the server that comes as a wheel."""
