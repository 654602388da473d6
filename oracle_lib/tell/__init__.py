"""WHAT PEOPLE READ: reports and explanations, every figure from SQL."""
