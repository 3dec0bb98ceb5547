"""Is the service in this container ready? Asked by Docker every few seconds, so it imports as little as it can.

Prints the service's own words, which `docker inspect` shows. Exit status: 0 ready, 1 not.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException

#: Seconds; less than the timeout that the Dockerfile gives.
PATIENCE = 4.0
_OK = 200


def main() -> int:
    """Run the command."""
    # On Linux 0.0.0.0 and :: lead to this machine, whatever the service listens on.
    host = os.environ.get("HOST") or "0.0.0.0"  # noqa: S104
    connection = HTTPConnection(host, int(os.environ.get("PORT") or "5000"), timeout=PATIENCE)
    try:
        connection.request("GET", "/health/ready")
        response = connection.getresponse()
        print(response.read(2000).decode("utf-8", "replace"))
        return int(response.status != _OK)
    except (OSError, HTTPException) as error:
        print(f"no answer: {error}")
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
