"""`main`: what `train.py` runs. Answers help and version, words errors, sets the exit code."""

import sys
from collections.abc import Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING, NoReturn

from lit_opt import __version__
from lit_opt.engine import allowed_imports as imports
from lit_opt.engine.cli.options import check_names
from lit_opt.engine.errors import RunError, Stopped, UserError

if TYPE_CHECKING:
    from lit_opt.datamodule import ImageData
    from lit_opt.engine.cli.run import LitCLI
    from lit_opt.module import LitModule

OVERVIEW = """\
usage: python train.py [command] [--option value ...]

Without a command: fit, then validate and test the best checkpoint.

commands:
  fit        train and validate
  validate   score a checkpoint on the validation set
  test       score a checkpoint on the test set
  predict    write what a checkpoint predicts for the test set to predictions.csv

options of every day (python train.py fit --help lists all; --model.lr is the full name of --lr):
  --config FILE          YAML with any of the options; may be given several times, later ones win
  --name NAME            name of the run, whose folder is runs/NAME
  --resume               go on with that run, or the one saved last; a new --name is started
  --ckpt_path FILE       checkpoint to continue from, or to validate, test or predict with
  --no_test              fit only
  --seed N               42; order of the samples, initial weights, dropout
  --epochs N             20
  --accelerator NAME     auto; cpu, gpu, mps
  --devices N            auto
  --precision P          32-true; bf16-mixed, 16-mixed
  --net NAME             MLP; ConvNet, ResNet9 or a class path such as torchvision.models.resnet18
  --compile              torch.compile for the net
  --loss NAME            cross_entropy; nll, mse, … of torch.nn, or a class path
  --optimizer NAME       AdamW; any of torch.optim, its arguments as --optimizer.weight_decay 0.1
  --lr LR                0.001; learning rate, whatever the optimizer
  --scheduler NAME       none; any of torch.optim.lr_scheduler, stepped over the planned steps
  --warmup FRACTION      0; part of the steps in which lr rises from 0
  --ema DECAY            none; 0.999 averages the weights: what is validated, tested and kept
  --dataset NAME         Digits; FashionMNIST, MNIST, KMNIST, EMNIST, CIFAR10, CIFAR100, ImageFolder
  --data_dir DIR         data; where files are looked for and downloaded to
  --batch_size N         64
  --callbacks+=NAME      one more callback, such as HalveWhenStuck, or EarlyStopping and then
                         --callbacks.monitor val/loss
  --allow PACKAGE        a package of yours that configs and options may name
  --print_config         the whole configuration as YAML, and stop
  --debug                full traceback of an error
  --version

examples:
  python train.py --lr 0.1 --optimizer SGD --optimizer.momentum 0.9 --epochs 5
  python train.py --dataset FashionMNIST --net ConvNet --accelerator gpu
  python train.py test --ckpt_path runs/NAME/checkpoints/best.ckpt"""


def main(
    args: list[str] | None = None,
    model_class: "type[LitModule] | None" = None,
    data_class: "type[ImageData] | None" = None,
    allow: Iterable[str] = (),
) -> "LitCLI | None":
    """Runs one command line and returns its `trainer`, `model` and `datamodule`.

    Args:
        args: The words after `train.py`; those of the process if None.
        model_class: Your subclass of LitModule.
        data_class: Your subclass of ImageData.
        allow: Packages of yours that configs, checkpoints and options may name.

    Raises:
        SystemExit: 2 for usage and data, 1 for a run that failed; the message is on stderr.
    """
    words = list(sys.argv[1:] if args is None else args)
    if words[:1] in (["--help"], ["-h"]):
        print(OVERVIEW)
        return None
    if "--version" in words:
        print(f"lit-opt {__version__}, lightning {version('lightning')}, torch {version('torch')}")
        return None
    try:
        named, others = imports.split_allowed([w for w in words if w != "--debug"])
        imports.allow([*allow, *named])
        return _run(others, model_class, data_class)
    except Stopped as stopped:
        if stopped.code == 0:
            print(stopped)
            return None
        print(f"stopped: {stopped}", file=sys.stderr)
        raise SystemExit(stopped.code) from stopped
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except SystemExit as left:
        if _is_of_ctrl_c(left):
            raise SystemExit(130) from None
        if type(left).__name__ == "SIGTERMException":  # Lightning's, of status 0
            raise SystemExit(143) from None
        raise
    except Exception as error:
        if _is_of_ctrl_c(error):
            raise SystemExit(130) from None
        if "--debug" in words:
            raise
        _fail(error)


def _run(
    words: list[str],
    model_class: "type[LitModule] | None",
    data_class: "type[ImageData] | None",
) -> "LitCLI":
    given = [cls for cls in (model_class, data_class) if cls is not None]
    if not given:
        check_names(words)
    imports.allow(cls.__module__.partition(".")[0] for cls in given)
    from lit_opt.engine.cli.quiet import quiet_loggers, quiet_warnings

    quiet_warnings()
    from lit_opt.datamodule import ImageData
    from lit_opt.engine.cli.run import LitCLI
    from lit_opt.module import LitModule

    quiet_loggers()
    imports.limit_imports()
    return LitCLI(words, model_class or LitModule, data_class or ImageData)


def _is_of_ctrl_c(error: BaseException | None) -> bool:
    """Whether Lightning caught it and left in its own way, or stumbled."""
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _fail(error: Exception) -> NoReturn:
    """Four lines at most and no traceback; what Lightning calls a misconfiguration is usage."""
    if "loading state_dict" in str(error):
        reason = " ".join(str(error).split()[:60])
        error = UserError(f"the checkpoint's weights do not fit --net: {reason}"[:400])
    if "No supported gpu backend" in str(error):
        error = UserError("there is no GPU that torch can use here; set --accelerator auto or cpu")
    usage = isinstance(error, UserError) or type(error).__name__ == "MisconfigurationException"
    text = "\n".join(str(error).strip().splitlines()[:4]) or type(error).__name__
    if not usage and not isinstance(error, RunError):
        text = f"{type(error).__name__}: {text.splitlines()[0]}\n--debug shows the traceback"
    print(f"error: {text}", file=sys.stderr)
    raise SystemExit(2 if usage else 1) from error
