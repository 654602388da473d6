"""When things run, and what may stop them. Thin: an asset is a call into oracle_lib."""
