"""What `python train.py --help` prints."""

OVERVIEW = """\
usage: python train.py [command] [--option value ...]

Without a command: fit, then validate and test the best checkpoint.

commands:
  fit        train and validate
  validate   score a checkpoint on the validation set
  test       score a checkpoint on the test set
  predict    write what a checkpoint predicts for the test set: predictions.csv, .npy, .txt or .pt
  compare    a table of runs, mean and spread over seeds: compare --last 10, or compare A B
  report     make the page of a run folder again, its figures too: report runs/NAME --format png
  completion what a shell needs to complete all this: completion bash > FILE
  schema     what an editor needs to check configs: schema > FILE
  new        a project of your own from this checkout: new ../my_project --package my_pkg
  update     a later engine for such a project: update --from PATH_OR_GIT_URL

options of every day (--model.lr is the full name of --lr; --help TOPIC lists all of trainer, model,
data, or tells of an option or a class: python train.py --help optimizer, --help ImageFolder):
  --config FILE          YAML with any of the options; may be given several times, later ones win
  --name NAME            name of the run, whose folder is runs/NAME
  --resume               go on with that run, or the one saved last; a new --name is started
  --ckpt_path FILE       checkpoint to continue from, or to validate, test or predict with
  --no_test              fit only
  --seed N               42; order of the samples, initial weights, dropout; not the split
  --seeds N              so many runs, with seeds from --seed on, and a table of them
  --epochs N             20
  --accelerator NAME     auto; cpu, gpu, mps
  --devices N            auto
  --precision P          32-true; bf16-mixed, 16-mixed; auto: bf16-mixed where it is fast
  --net NAME             MLP; ConvNet, ResNet9 or a class path such as torchvision.models.resnet18
  --compile              torch.compile for the net
  --loss NAME            cross_entropy; nll, mse, … of torch.nn, or a class path
  --optimizer NAME       AdamW; any of torch.optim, its arguments as --optimizer.weight_decay 0.1
  --lr LR                0.001; learning rate, whatever the optimizer
  --scheduler NAME       none; any of torch.optim.lr_scheduler, stepped over the planned steps
  --warmup FRACTION      0; part of the steps in which lr rises from 0
  --ema DECAY            none; 0.999 averages the weights: what is validated, tested and kept
  --dataset NAME         Digits; FashionMNIST, MNIST, KMNIST, EMNIST, CIFAR10, CIFAR100; your own
                         pictures or table: ImageFolder, ImageTable, CSV; or a class path
  --data_dir DIR         data; where files are looked for and downloaded to
  --batch_size N         64
  --callbacks+=NAME      one more callback, such as HalveWhenStuck, or EarlyStopping and then
                         --callbacks.monitor val/loss
  --allow PACKAGE        a package of yours that configs and checkpoints may name
  --model, --data CLASS  a LightningModule and LightningDataModule of your own, by their class paths
  --monitor NAME         val/loss; the validation metric that selects the best checkpoint
  --save_every N         steps, or a time such as 10m: last.ckpt inside epochs, which may not end
  --print_config         the whole configuration as YAML, and stop
  --debug                full traceback of an error
  --version

examples:
  python train.py --lr 0.1 --optimizer SGD --optimizer.momentum 0.9 --epochs 5
  python train.py --dataset FashionMNIST --net ConvNet --accelerator gpu
  python train.py test --ckpt_path runs/NAME/checkpoints/best.ckpt"""
