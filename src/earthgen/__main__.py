"""`python -m earthgen` is the same as the command `earthgen`."""

from .cli import main

if __name__ == "__main__":
    main()
