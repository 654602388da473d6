"""WHAT HAPPENED: events, profiles and courses come in, and are counted per user and day."""
