"""Tables as bodies of requests and responses: CSV, and streams of Arrow where pyarrow is installed."""
