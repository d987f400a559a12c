"""`python -m latentkit` is the `latentkit` command."""

from latentkit.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
