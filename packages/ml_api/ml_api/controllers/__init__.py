"""Controllers: one blueprint a file. A view parses with a view, calls a model, renders with a view."""
