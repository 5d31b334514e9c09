"""`python -m lakeray` is the command line."""

from lakeray.cli import main

if __name__ == "__main__":
    main()
