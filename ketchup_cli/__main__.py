"""Entry point of `python -m ketchup_cli`."""

from ketchup_cli.cli.app import main

if __name__ == "__main__":
    main()
