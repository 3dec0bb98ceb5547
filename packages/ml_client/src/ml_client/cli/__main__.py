"""``python -m ml_client.cli``: the command, where its script is not on the path."""

import sys

from ml_client.cli.main import main

sys.exit(main())
