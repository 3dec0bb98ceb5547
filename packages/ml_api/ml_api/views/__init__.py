"""Views: from bytes to records, from answers to bytes."""
