"""Models: the application's logic, independent of HTTP and Flask."""
