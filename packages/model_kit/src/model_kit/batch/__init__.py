"""Files: tables in and out, whatever their size."""
