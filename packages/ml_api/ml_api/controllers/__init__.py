"""Controllers: one blueprint per file. Each parses the request with a view, calls a model and renders with a view."""
