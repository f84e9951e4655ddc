import inspect
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_opt.engine.base.errors import UserError
from lit_opt.engine.base.targets import DenseClasses, NextToken, Regression
from lit_opt.engine.tasks.loss_on_logits import LOSSES, OnLogits
from lit_opt.engine.tasks.metrics import MeanLoss
from lit_opt.losses import my_cross_entropy

B, C = 12, 3
# Arguments without which a class can't be made, or (KLDivLoss) warns.
ARGUMENTS = {
    "AdaptiveLogSoftmaxWithLoss": {"in_features": 4, "n_classes": C, "cutoffs": [1]},
    "LinearCrossEntropyLoss": {"in_features": 4, "num_classes": C},
    "KLDivLoss": {"reduction": "batchmean"},
}
SERVED = sorted(cls.__name__ for cls in LOSSES)
ALL = {n for n, cls in vars(nn).items() if inspect.isclass(cls) and n.endswith("Loss")}


def make(name: str, **arguments: object) -> nn.Module:
    return getattr(nn, name)(**ARGUMENTS.get(name, {}) | arguments)


LOGITS = torch.randn(B, C, generator=torch.Generator().manual_seed(1))
SOFT = torch.randn(B, C, generator=torch.Generator().manual_seed(2)).softmax(1)
Y = torch.arange(B) % C
ONE_HOT = F.one_hot(Y, C).float()
LOG_PROBS = LOGITS - LOGITS.exp().sum(1, keepdim=True).log()
P, W = LOGITS.sigmoid(), torch.tensor([1.0, 2.0, 3.0])
IGNORING = [nn.NLLLoss(W, ignore_index=1, reduction=reduction) for reduction in ("mean", "sum")]
KL = (SOFT * (SOFT.log() - LOG_PROBS)).sum()


@pytest.mark.parametrize("name", sorted(ALL - set(SERVED)))
def test_losses_of_other_tasks_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"{name} .+; set --loss to one of\n.*CrossEntropyLoss"):
        OnLogits(make(name))


@pytest.mark.parametrize("name", SERVED)
def test_every_other_loss_of_torch_trains_a_classifier(name: str) -> None:
    torch.manual_seed(0)
    x, net, loss = torch.eye(C)[Y] + 0.1 * torch.randn(B, C), nn.Linear(C, C), OnLogits(make(name))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    values = []
    for _ in range(60):
        optimizer.zero_grad()
        values.append(loss(net(x), Y))
        values[-1].backward()
        optimizer.step()
    assert values[-1].shape == ()
    assert values[-1] < 0.8 * values[0]
    assert (net(x).argmax(1) == Y).all()
    with pytest.raises(UserError, match="no scalar"):
        OnLogits(make(name, reduction="none"))


@pytest.mark.parametrize("name", SERVED)
def test_labels_as_indices_one_hot_and_soft_agree(name: str) -> None:
    loss = OnLogits(make(name))
    torch.testing.assert_close(loss(LOGITS, ONE_HOT), loss(LOGITS, Y))
    if name == "MultiMarginLoss":
        with pytest.raises(UserError, match=r"takes hard labels(.|\n)*CrossEntropyLoss"):
            loss(LOGITS, SOFT)
    else:
        near = ONE_HOT * (1 - 3e-5) + 1e-5
        torch.testing.assert_close(loss(LOGITS, near), loss(LOGITS, Y), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("loss", "y", "formula"),
    [
        (nn.NLLLoss(), Y, -LOG_PROBS[range(B), Y].sum() / B),
        (nn.NLLLoss(), SOFT, -(SOFT * LOG_PROBS).sum() / B),
        (nn.NLLLoss(W), SOFT, -(SOFT * W * LOG_PROBS).sum() / B),
        (nn.NLLLoss(W, reduction="sum"), SOFT, -(SOFT * W * LOG_PROBS).sum()),
        *((nll, Y, nll(LOG_PROBS, Y)) for nll in IGNORING),
        (nn.CrossEntropyLoss(), SOFT, -(SOFT * LOG_PROBS).sum() / B),
        (nn.KLDivLoss(reduction="batchmean"), Y, -LOG_PROBS[range(B), Y].sum() / B),
        (nn.KLDivLoss(reduction="sum"), SOFT, KL),
        (nn.KLDivLoss(reduction="sum", log_target=True), SOFT, KL),
        (nn.MSELoss(), Y, ((LOGITS - ONE_HOT) ** 2).mean()),
        (nn.BCELoss(W), Y, -(W * (ONE_HOT * P.log() + (1 - ONE_HOT) * (1 - P).log())).mean()),
        (my_cross_entropy, Y, my_cross_entropy(LOGITS, Y)),
        (lambda outputs, labels: labels, SOFT, SOFT),
    ],
)
def test_it_equals_the_written_out_formula(loss, y: Tensor, formula: Tensor) -> None:
    torch.testing.assert_close(OnLogits(loss)(LOGITS, y), formula)


PLACES = torch.randn(4, C, 2, 2, generator=torch.Generator().manual_seed(3))
TOKENS = PLACES.flatten(2).mT  # (4, 4 tokens, C)
LABELS = torch.arange(16).reshape(4, 2, 2) % C
VOID = LABELS.masked_fill(LABELS == 1, -100)


@pytest.mark.parametrize(
    ("loss", "y", "of_rows"),
    [
        (nn.CrossEntropyLoss(), LABELS, F.cross_entropy),
        (nn.CrossEntropyLoss(), VOID, F.cross_entropy),
        (nn.NLLLoss(W), LABELS, partial(F.cross_entropy, weight=W)),
        (nn.NLLLoss(W), VOID, partial(F.cross_entropy, weight=W)),
        (nn.MSELoss(), LABELS, lambda z, y: F.mse_loss(z, F.one_hot(y, C).float())),
    ],
)
def test_classes_of_places_and_tokens_are_those_of_samples(loss, y: Tensor, of_rows) -> None:
    """Also in the mean over batches, which counts what is not ignored."""
    expected = of_rows(PLACES.movedim(1, -1).reshape(-1, C), y.flatten())
    dense, tokens = (DenseClasses(), PLACES, y), (NextToken(), TOKENS, y.flatten(1))
    for targets, z, labels in (dense, tokens):
        ours, mean = OnLogits(loss), MeanLoss()
        ours.follow(targets)
        torch.testing.assert_close(ours(z, labels), expected)
        for part in (slice(1), slice(1, 4)):
            weight = ours.weight_of(labels[part])
            mean.update(ours(z[part], labels[part]), labels[part], weight)
        torch.testing.assert_close(mean.compute(), expected)


def test_a_loss_without_weights_is_asked_for_none() -> None:
    assert OnLogits(nn.CrossEntropyLoss()).weight_of is len
    assert OnLogits(F.cross_entropy).weight_of is len
    assert OnLogits(nn.CrossEntropyLoss(W)).weight_of is not len


def test_nll_keeps_its_dtype() -> None:
    assert OnLogits(nn.NLLLoss(W)).double()(LOGITS.double(), Y).dtype == torch.float64


@pytest.mark.parametrize("name", ["MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss"])
def test_regression_targets_are_passed_as_they_are(name: str) -> None:
    y = torch.full_like(LOGITS, 7.5)
    torch.testing.assert_close(OnLogits(make(name))(LOGITS, y), make(name)(LOGITS, y))
    with pytest.raises(UserError, match=rf"{name} .* shape \(8, 1\), got \(8,\)"):
        OnLogits(make(name))(torch.zeros(8, 1), torch.zeros(8))


@pytest.mark.parametrize("base", [nn.MSELoss, nn.NLLLoss, nn.BCELoss])
def test_a_subclass_is_fed_like_its_base(base: type[nn.Module]) -> None:
    class Doubled(base):
        def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
            return 2 * super().forward(outputs, labels)

    torch.testing.assert_close(OnLogits(Doubled())(LOGITS, Y), 2 * OnLogits(base())(LOGITS, Y))


@pytest.mark.parametrize("name", ["BCELoss", "BCEWithLogitsLoss", "MultiLabelSoftMarginLoss"])
def test_numbers_beyond_0_and_1_are_told_by_losses_that_would_become_negative(name: str) -> None:
    outputs = torch.randn(4, 3)
    for low, high in ((-0.1, 1.0), (0.0, 25.0)):
        loss = OnLogits(getattr(nn, name)())
        loss.follow(Regression())
        with pytest.raises(UserError, match="from 0 to 1"):
            loss(outputs, torch.linspace(low, high, 12).view(4, 3))
    loss = OnLogits(getattr(nn, name)())
    loss.follow(Regression())
    y = torch.linspace(0, 1, 12).view(4, 3)  # such as an autoencoder's
    expected = getattr(nn, name)()(outputs.sigmoid() if name == "BCELoss" else outputs, y)
    torch.testing.assert_close(loss(outputs, y), expected)
