"""The program that the tests run: lit-opt as it is shipped, whatever `train.py` has become."""

from lit_opt.engine.cli.main import main
from lit_opt.engine.cli.program import Program

program = Program(
    model="lit_opt.module.LitModule",
    data="lit_opt.datamodule.ImageData",
    defaults={
        "net": "MLP",
        "loss": "CrossEntropyLoss",
        "optimizer": "AdamW",
        "dataset": "Digits",
        "max_epochs": 20,
    },
    allow=["examples"],
)

if __name__ == "__main__":
    main(program)
