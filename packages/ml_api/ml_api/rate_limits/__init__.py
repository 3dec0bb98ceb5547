"""Rate limits, exact over all workers; imported only if ``RATE_LIMIT`` is set."""
