"""How good the models are on data that nobody here wrote: files in, figures out, no database."""
