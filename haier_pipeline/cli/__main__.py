"""``python -m haier_pipeline.cli``."""

from haier_pipeline.cli import main

if __name__ == "__main__":
    main()
