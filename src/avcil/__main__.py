"""`python -m avcil` is the command `avcil`."""

from avcil.cli.main import main

if __name__ == "__main__":
    main()
