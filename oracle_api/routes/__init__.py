"""One file a resource. A route reads what came, calls the library once and shapes the answer."""
