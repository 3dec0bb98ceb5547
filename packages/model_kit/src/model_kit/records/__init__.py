"""Records: validation, the fast lane, encoding, generated rows, row warnings."""
