"""Entry point of a checkout; the console script ``interpret-runs`` does the same."""

from interpret_runs.runner.app import main

if __name__ == "__main__":
    main()
