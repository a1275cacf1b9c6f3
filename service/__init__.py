"""The service: users, permissions, orders, HTTP, database, process."""
