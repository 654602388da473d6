"""DOING IT: approved actions are claimed, checked again, sent once and finished."""
