"""Where everything is kept: the tables, the engine, and the one way derived rows are written."""
