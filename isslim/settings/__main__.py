"""Prints the page of all settings: `python -m isslim.settings > docs/configuration.md`."""

import sys

from isslim.settings.page import page

if __name__ == "__main__":
    sys.stdout.write(page())
