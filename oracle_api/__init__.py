"""The door: event ingestion, approvals and read-outs over HTTP. Thin: a route is a call into oracle_lib."""
