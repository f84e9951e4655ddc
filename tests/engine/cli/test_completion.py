"""What a bash completes, asked as it asks itself."""

import shlex
import shutil
import subprocess

import pytest
from digits_program import program

from lit_opt.engine.cli.completion import script

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
ASKED = {
    "python train.py --net Co": ["ConvNet"],
    "python train.py --model.net Co": ["ConvNet"],
    "python3 ../train.py --max_ep": ["--max_epochs"],
    "./train.py --trainer.accel": ["--trainer.accelerator"],
    "python train.py fit --optimizer = SG": ["SGD"],
    "python train.py --scheduler OneC": ["OneCycleLR"],
    "python train.py --accelerator g": ["gpu"],
    "python train.py comp": ["compare", "completion"],
    "python train.py --see": ["--seed", "--seed_everything"],
    "python train.py --callbacks+ = EarlyS": ["EarlyStopping"],
    "python train.py --resume ": ["false", "true"],
    "python train.py --monitor_mode ": ["max", "min"],
    "python train.py --config ": [],
    "python train.py completion ": ["--help", "bash", "zsh"],
    "python train.py compare --la": ["--last"],
    "python train.py compare --lr": [],
    "python train.py fit pre": [],
    "python other.py --net Co": [],
    "python mytrain.py --net Co": [],
    "python train.py --net nothing": [],
}


@pytest.fixture(scope="module")
def completes(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "completion.bash"
    path.write_text(script("bash", program))

    def completes(line: str) -> list[str]:
        words = line.split(" ")
        asks = (
            f"source {path}; COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; "
            'complete -p python >/dev/null && _lit_opt && printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-c", asks], capture_output=True, text=True)
        assert done.stderr == ""
        return sorted({*done.stdout.split()})

    return completes


@pytest.mark.parametrize(("line", "expected"), ASKED.items())
def test_words_and_values(completes, line, expected):
    assert completes(line) == expected


def test_zsh_is_told_to_take_bash_s_functions():
    assert script("zsh", program).splitlines()[1].startswith("autoload -U bashcompinit")
