"""A frozen part against one that no optimizer has."""

import json

import torch

FREEZE = {"class_path": "Freeze", "init_args": {"epochs": 1, "part": "net", "but": ["net.head"]}}
WORDS = ["--net=ConvNet", "--net.width=4", "--net.dropout=0.2", "--limit_train_batches=3"]
WORDS += ["--no_test", "--lr_factors={net: 0.1, net.head: 1}", "--val_fraction=0.5"]


def weights(run: str) -> dict[str, torch.Tensor]:
    return torch.load(f"runs/{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"]


def test_a_part_stands_still_then_trains_and_a_resume_is_to_the_bit(run):
    words = [*WORDS, f"--callbacks={json.dumps([FREEZE])}"]
    run(*words, "--epochs=2", "--name=whole")
    run(*words, "--epochs=1", "--name=parts")
    first = weights("parts")
    torch.manual_seed(0)
    whole = weights("whole")
    features = [key for key in whole if key.startswith("net.features")]
    untrained = run(*words, "--lr=0", "--epochs=1", "--name=still")
    still = weights("still")
    assert untrained
    assert all(torch.equal(first[key], still[key]) for key in features)  # running means, too
    assert not torch.equal(first["net.head.2.weight"], still["net.head.2.weight"])
    assert not torch.equal(whole[features[0]], still[features[0]])
    run(*words, "--epochs=2", "--name=parts", "--resume")
    assert all(torch.equal(weights("parts")[key], whole[key]) for key in whole)


def test_a_part_that_is_not_there_is_told(fails):
    wrong = {"class_path": "Freeze", "init_args": {"epochs": 1, "part": "net.backbone"}}
    told = fails(*WORDS, f"--callbacks={json.dumps([wrong])}")
    assert "'net.backbone'" in told
    assert "net.head" in told
