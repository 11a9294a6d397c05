"""`python -m nextpixel`, as torchrun needs it."""

from nextpixel.cli.app import main

if __name__ == "__main__":
    main()
