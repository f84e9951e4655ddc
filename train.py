"""Train, validate and test: `python train.py`; everything else is in `python train.py --help`."""

from lit_opt.engine.cli.main import main

if __name__ == "__main__":
    main()
