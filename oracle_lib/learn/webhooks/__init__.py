"""What e-mail providers tell of messages: checked (`signatures`), kept (`inbox`), read (`reading`), then `processing`.

An event is answered 200 after the commit that keeps it, and counts once, however often and in whatever order it is
told. Guarantee G7: `tests/guarantees/test_g7_outcomes_are_counted_once.py`.
"""
