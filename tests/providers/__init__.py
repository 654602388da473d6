"""Providers of messages as real local servers: they speak the wire format, and misbehave when told."""
