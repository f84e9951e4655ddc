"""The table source, against numpy and scikit-learn."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.class_weight import compute_class_weight

from lit_opt.datamodule import ImageData
from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.targets import Regression
from lit_opt.engine.loading.batches import Batches
from lit_opt.engine.loading.loader import EpochSampler
from lit_opt.sources import CSV


def rows(n: int = 60, seed: int = 0) -> list[list[str]]:
    """[age, job, income, label], age and job with gaps, two of three are "no"."""
    draw = np.random.default_rng(seed)
    table = []
    for k in range(n):
        age = "" if k % 7 == 3 else str(draw.integers(18, 80))
        job = ["a", "b", "NA"][draw.integers(3)]
        table.append([age, job, f"{draw.normal():.3f}", "yes" if k % 3 == 2 else "no"])
    return table


def write(path: str, table: list[list[str]], names: str = "age,job,income,label") -> None:
    Path(path).write_text("\n".join([names, *map(",".join, table)]) + "\n")


def held_out(labels: np.ndarray) -> np.ndarray:
    """Every fifth of each class."""
    chosen = np.zeros(len(labels), bool)
    by_class = np.argsort(labels, kind="stable")
    chosen[by_class[4::5]] = True
    return chosen


def data(**options) -> ImageData:
    source = {"path": "t.csv", "target": "label", **options}
    made = ImageData(CSV(**source), val_fraction=0.2)
    made.setup("fit")
    return made


def test_batches_equal_numpys_preparation_fitted_on_the_training_part():
    write("t.csv", rows())
    made = data()
    table = np.array(rows())
    is_test = held_out(table[:, 3])
    x, y = made.on_after_batch_transfer(made.source.load(Path(), "test"), 0)
    part, test = table[~is_test][made.splits["train"].rows], table[is_test]
    for column, k in ((0, 0), (2, 5)):  # age and income
        fitted, held = (np.array([float(v or "nan") for v in t[:, column]]) for t in (part, test))
        expected = np.nan_to_num((held - np.nanmean(fitted)) / np.nanstd(fitted))
        np.testing.assert_allclose(x[:, k].numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(x[:, 1].numpy(), test[:, 0] == "")
    encoder = OneHotEncoder(categories=[["a", "b", "NA"]]).fit(part[:, [1]])
    np.testing.assert_array_equal(x[:, 2:5].numpy(), encoder.transform(test[:, [1]]).toarray())
    assert [made.class_names[k] for k in y] == list(test[:, 3])


def test_times_in_seconds_keep_their_differences():
    """Float32 has one number for 128 seconds of this century."""
    times = 1_700_000_000 + np.arange(60)
    write("t.csv", [[str(time), *row[1:]] for time, row in zip(times, rows(), strict=True)])
    made = data()
    is_test = held_out(np.array(rows())[:, 3])
    x, _ = made.on_after_batch_transfer(made.source.load(Path(), "test"), 0)
    fitted = times[~is_test][made.splits["train"].rows]
    expected = (times[is_test] - fitted.mean()) / fitted.std()
    np.testing.assert_allclose(x[:, 0].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_value_that_training_lacks_is_zero_in_all_its_columns():
    write("t.csv", rows())
    write("new.csv", [["30", "pilot", "0.5", "no"], ["30", "a", "0.5", "no"]])
    made = data(test_path="new.csv")
    made.setup("test")
    x, _ = made.on_after_batch_transfer(made.splits["test"].__getitems__([0, 1]), 0)
    assert x[0, 2:4].tolist() == [0, 0]
    assert x[1, 2:4].tolist() == [1, 0]


def test_a_category_of_validation_samples_alone_counts_as_unknown():
    write("t.csv", rows())
    held = data().splits["val"].rows[0]
    changed = rows()
    kept = np.arange(60)[~held_out(np.array(changed)[:, 3])]
    changed[kept[held]][1] = "rare"
    write("t.csv", changed)
    made = data()
    place = made.source.found["columns"]["job"]["categories"].index("rare")
    x, _ = made.on_after_batch_transfer(made.splits["val"].__getitems__([0]), 0)
    assert made.splits["val"].x[held, 2 + place] == 1
    assert x[0, 2:5].tolist() == [0, 0, 0]


def test_what_the_training_file_told_is_the_checkpoints(run, fails):
    write("t.csv", rows())
    write("test.csv", rows(20, seed=1))
    words = ["--dataset=CSV", "--dataset.path=t.csv", "--dataset.target=label"]
    words += ["--dataset.test_path=test.csv", "--net.hidden=[8]", "--epochs=1"]
    before = run(*words, "--name=a").scores
    darker = [[row[0] and str(2 * int(row[0])), "z" + row[1], "7", row[3]] for row in rows()]
    write("t.csv", darker)
    after = run("test", "--ckpt_path=runs/a/checkpoints/best.ckpt").scores
    assert after["test/loss"] == before["test/loss"]
    write("test.csv", [["3", "a", "0.5", "maybe"]])
    told = fails("test", "--ckpt_path=runs/a/checkpoints/best.ckpt")
    assert "'maybe'" in told
    assert "no, yes" in told


@pytest.mark.parametrize(
    ("table", "options", "words"),
    [
        (rows(), {"target": "lable"}, ("'lable'", "--dataset.target")),
        (rows(), {"path": "x.csv"}, ("'x.csv'", "--dataset.path")),
        (rows(), {"drop": ["ag"]}, ("no column ag", "age, job")),
        ([*rows(), ["1", "2"]], {}, ("line 62", "2 values")),
        ([], {}, ("no rows",)),
        ([["1", "a", "2", "no"]], {"drop": ["age", "job", "income"]}, ("no column but",)),
        (rows(), {"delimiter": ";"}, ("no column 'label'", "--dataset.delimiter")),
        (rows(), {"regression": True}, ("label is 'no'", "expected a number")),
    ],
)
def test_what_is_no_table_is_told(table, options, words):
    write("t.csv", table)
    with pytest.raises(UserError) as told:
        data(**options)
    assert all(word in str(told.value) for word in words), told.value


def test_numbers_as_target_are_a_regression_and_parquet_names_its_package(monkeypatch):
    write("t.csv", [[str(k), "a", str(k / 2), "x"] for k in range(40)])
    made = data(target="income")
    assert isinstance(made.targets, Regression)
    assert made.num_classes == 1
    assert made.splits["train"].y.shape == (32, 1)
    Path("t.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install pyarrow"):
        data(path="t.parquet")


def test_what_is_predicted_needs_no_target(column, run):
    write("t.csv", rows())
    words = ["--dataset=CSV", "--dataset.path=t.csv", "--dataset.target=label", "--no_test"]
    run(*words, "--epochs=1", "--name=a")
    names, *lines = [line.split(",") for line in Path("t.csv").read_text().splitlines()]
    where = names.index("label")
    bare = [[v for k, v in enumerate(line) if k != where] for line in [names, *lines[4::5]]]
    Path("bare.csv").write_text("\n".join(map(",".join, bare)))
    Path("full.csv").write_text("\n".join(map(",".join, [names, *lines[4::5]])))
    probs = []
    for file in ("bare.csv", "full.csv"):
        run("predict", "--ckpt_path=runs/a/checkpoints/best.ckpt", f"--dataset.test_path={file}")
        probs.append(column("runs/a/predictions.csv", "prob"))
    assert probs[0] == probs[1]
    assert len(probs[0]) == len(lines[4::5])
    with pytest.raises(UserError, match="no column 'label'"):
        CSV("t.csv", "label", test_path="bare.csv").load(Path(), "test")


def test_a_column_of_more_texts_than_are_used_is_told(capsys):
    lines = ["my id,label", *(f"c{k},{k % 2}" for k in range(9))]
    Path("t.csv").write_text("\n".join(lines))
    x, _ = CSV("t.csv", "label", max_categories=4).load(Path(), "train")
    assert x.shape[1] == 4
    told = "my id has 9 different texts, of which the 4 most frequent ones are used;"
    assert f"{told} --dataset.drop [my id]" in capsys.readouterr().err


def test_class_weights_are_scikit_learns_and_stay_the_runs(run):
    write("t.csv", rows())
    words = ["--dataset=CSV", "--dataset.path=t.csv", "--dataset.target=label"]
    done = run(*words, "--class_weights=true", "--epochs=1", "--name=a", "--no_test")
    y = done.datamodule.splits["train"].y[done.datamodule.splits["train"].rows].numpy()
    expected = compute_class_weight("balanced", classes=np.arange(2), y=y)
    np.testing.assert_allclose(done.model.loss.loss.weight.numpy(), expected, rtol=1e-6)
    again = run("test", "--ckpt_path=runs/a/checkpoints/best.ckpt")
    np.testing.assert_allclose(again.model.loss.loss.weight.numpy(), expected, rtol=1e-6)


def test_balanced_draws_each_class_alike_and_is_replayed():
    batches = Batches(torch.zeros(1000, 1), (torch.arange(1000) < 50).long())
    sampler = EpochSampler(batches, 1, 0, shuffle=True, seed=3)
    counts = batches.y.bincount()
    sampler.weights = 1 / counts[batches.y].double()
    sampler.set_epoch(2)
    drawn = sampler.order()
    share = batches.y[drawn].double().mean()
    assert abs(share - 0.5) < 4 * (0.25 / 1000) ** 0.5
    sampler.skipped = 600
    assert torch.equal(sampler.order(), drawn[600:])
    sampler.skipped = 0
    sampler.set_epoch(3)
    assert not torch.equal(sampler.order(), drawn)


def test_parquet_holds_what_csv_does():
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = [[v.replace("NA", "") for v in row] for row in rows()]
    write("t.csv", table)
    age, job, income, label = zip(*table, strict=True)
    columns = {"age": [int(v) if v else None for v in age], "job": [v or None for v in job]}
    columns |= {"income": [float(v) for v in income], "label": list(label)}
    parquet.write_table(pa.table(columns), "t.parquet")
    csv, made = data(), data(path="t.parquet")
    for split in ("train", "val"):
        assert torch.equal(made.splits[split].rows, csv.splits[split].rows)
        x, expected = made.splits[split].x, csv.splits[split].x
        assert torch.equal(x.nan_to_num(-1), expected.nan_to_num(-1))
        assert torch.equal(made.splits[split].y, csv.splits[split].y)


@pytest.mark.parametrize("regression", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_rows_without_labels_are_predicted(run, fails, regression):
    target = "income" if regression else "label"
    names, place = ["age", "job", "income", "label"], {"income": 2, "label": 3}[target]
    write("t.csv", rows())
    new = rows(20, seed=1)
    write("new.csv", new)
    write("gaps.csv", [[*r[:place], "" if k % 2 else r[place], *r[place + 1 :]] for k, r in
                       enumerate(new)])  # fmt: skip
    write(
        "bare.csv",
        [[v for k, v in enumerate(row) if k != place] for row in new],
        ",".join(name for name in names if name != target),
    )
    words = ["--dataset=CSV", "--dataset.path=t.csv", f"--dataset.target={target}"]
    run(*words, "--epochs=1", "--name=a", "--no_test")
    point = "--ckpt_path=runs/a/checkpoints/last.ckpt"
    told = []
    for file in ("new", "gaps", "bare"):
        run("predict", point, f"--dataset.test_path={file}.csv")
        told.append(Path("runs/a/predictions.csv").read_text())
    assert told[0].count("\n") == 21
    assert told[1] == told[2] == told[0]
    assert f"has no column '{target}'" in fails("test", point, "--dataset.test_path=bare.csv")
    run("predict", point, "--dataset.path=bare.csv")
    assert Path("runs/a/predictions.csv").read_text() == told[0]
