"""Train, validate and test: `python train.py`; everything else is in `python train.py --help`."""

from lit_opt.cli import main

if __name__ == "__main__":
    main()
