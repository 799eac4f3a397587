"""``python -m roadseg``."""

from roadseg.cli import main

if __name__ == "__main__":
    main()
