"""The command ``ml-api``: each module but :mod:`main` adds one subcommand."""
