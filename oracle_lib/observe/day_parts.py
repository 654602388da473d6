"""The parts of a user's day, on their own clock: from an hour up to another.

The night is none: nobody wants to be written to then.
"""

DAY_PARTS = {"morning": (5, 12), "afternoon": (12, 17), "evening": (17, 24)}
