"""The service: an HTTP interface, a durable job table and worker processes that hold the models (extra `serve`)."""
