"""What ORACLE knows and does. Its folders are the verbs of the loop; it imports neither Dagster nor FastAPI."""
