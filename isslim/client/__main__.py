"""Runs the command line: `python -m isslim.client`."""

from isslim.client.cli import main

if __name__ == "__main__":
    main()
