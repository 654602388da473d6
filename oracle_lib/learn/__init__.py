"""DID IT WORK: what followed a delivery, and what it says about the action."""
