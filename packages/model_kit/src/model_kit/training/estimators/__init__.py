"""Estimators and transformers of the kit, and how they are exported."""
