"""WHO THEY ARE: segments and predictions, worked out from what was observed."""
