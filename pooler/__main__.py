"""`python -m pooler` is the program `pooler`."""

from pooler.cli import main

if __name__ == "__main__":
    main()
