"""Measures against the budgets. A budget is a ratio of two things measured in the same run."""
