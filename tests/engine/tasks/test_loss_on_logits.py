import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_opt.engine.errors import UserError
from lit_opt.engine.tasks.loss_on_logits import OnLogits
from lit_opt.losses import my_cross_entropy

B, C = 12, 3
LOSSES = {
    name: cls for name, cls in vars(nn).items() if inspect.isclass(cls) and name.endswith("Loss")
}
# Arguments without which a class can't be made, or (KLDivLoss) warns.
ARGUMENTS = {
    "AdaptiveLogSoftmaxWithLoss": {"in_features": 4, "n_classes": C, "cutoffs": [1]},
    "LinearCrossEntropyLoss": {"in_features": 4, "num_classes": C},
    "KLDivLoss": {"reduction": "batchmean"},
}
REFUSED = {
    "AdaptiveLogSoftmaxWithLoss",
    "CTCLoss",
    "CosineEmbeddingLoss",
    "GaussianNLLLoss",
    "LinearCrossEntropyLoss",
    "MarginRankingLoss",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
}
HARD_ONLY = {"MultiMarginLoss", "MultiLabelMarginLoss", "SoftMarginLoss", "HingeEmbeddingLoss"}
SERVED = sorted(LOSSES.keys() - REFUSED)


def make(name: str, **arguments: object) -> nn.Module:
    return LOSSES[name](**{**ARGUMENTS.get(name, {}), **arguments})


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(B, C, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def y() -> Tensor:
    return torch.arange(B) % C


@pytest.fixture
def soft() -> Tensor:
    return torch.randn(B, C, generator=torch.Generator().manual_seed(2)).softmax(1)


@pytest.mark.parametrize("name", sorted(REFUSED & LOSSES.keys()))
def test_losses_of_more_than_outputs_and_labels_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"{name} .+; set --loss"):
        OnLogits(make(name))


@pytest.mark.parametrize("name", SERVED)
def test_every_other_loss_of_torch_trains_a_classifier(name: str, y: Tensor) -> None:
    torch.manual_seed(0)
    x = torch.eye(C)[y] + 0.1 * torch.randn(B, C)
    net = nn.Linear(C, C)
    loss = OnLogits(make(name))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    values = []
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(net(x), y)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert value.shape == ()
    assert values[-1] < 0.8 * values[0]
    assert (net(x).argmax(1) == y).all()


@pytest.mark.parametrize("name", SERVED)
def test_indices_and_one_hot_labels_give_the_same_loss(
    name: str, logits: Tensor, y: Tensor
) -> None:
    loss = OnLogits(make(name))
    torch.testing.assert_close(loss(logits, F.one_hot(y, C).float()), loss(logits, y))


@pytest.mark.parametrize("name", sorted(set(SERVED) - HARD_ONLY))
def test_soft_labels_near_a_class_give_nearly_its_loss(
    name: str, logits: Tensor, y: Tensor
) -> None:
    loss = OnLogits(make(name))
    near = F.one_hot(y, C).float() * (1 - 3e-5) + 1e-5
    torch.testing.assert_close(loss(logits, near), loss(logits, y), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", sorted(HARD_ONLY))
def test_soft_labels_are_refused_where_they_mean_nothing(
    name: str, logits: Tensor, soft: Tensor
) -> None:
    with pytest.raises(UserError, match=rf"{name} takes hard labels(.|\n)*CrossEntropyLoss"):
        OnLogits(make(name))(logits, soft)


@pytest.mark.parametrize("name", SERVED)
def test_losses_without_a_scalar_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="no scalar"):
        OnLogits(make(name, reduction="none"))


@pytest.mark.parametrize("name", ["NLLLoss", "CrossEntropyLoss", "KLDivLoss"])
def test_nll_equals_the_written_out_formula(
    name: str, logits: Tensor, y: Tensor, soft: Tensor
) -> None:
    log_probs = logits - logits.exp().sum(1, keepdim=True).log()
    loss = OnLogits(make(name))
    torch.testing.assert_close(loss(logits, y), -log_probs[range(B), y].sum() / B)
    entropy = -(soft * soft.log()).sum() / B if name == "KLDivLoss" else 0.0
    torch.testing.assert_close(loss(logits, soft), -(soft * log_probs).sum() / B - entropy)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_nll_keeps_its_arguments(reduction: str, logits: Tensor, y: Tensor, soft: Tensor) -> None:
    weight = torch.tensor([1.0, 2.0, 3.0])
    nll = nn.NLLLoss(weight, ignore_index=1, reduction=reduction)
    torch.testing.assert_close(OnLogits(nll)(logits, y), nll(logits.log_softmax(1), y))
    value = OnLogits(nn.NLLLoss(weight, reduction=reduction))(logits, soft)
    reference = -(soft * weight * logits.log_softmax(1)).sum()
    torch.testing.assert_close(value, reference / (B if reduction == "mean" else 1))


def test_mse_equals_the_written_out_formula(logits: Tensor, y: Tensor) -> None:
    value = OnLogits(nn.MSELoss())(logits, y)
    torch.testing.assert_close(value, ((logits - torch.eye(C)[y]) ** 2).sum() / (B * C))


def test_bce_equals_the_written_out_formula(logits: Tensor, y: Tensor) -> None:
    p, t, weight = logits.sigmoid(), torch.eye(C)[y], torch.tensor([1.0, 2.0, 3.0])
    reference = -(weight * (t * p.log() + (1 - t) * (1 - p).log())).mean()
    torch.testing.assert_close(OnLogits(nn.BCELoss(weight))(logits, y), reference)


def test_kl_divergence_of_log_targets(logits: Tensor, y: Tensor, soft: Tensor) -> None:
    plain = OnLogits(nn.KLDivLoss(reduction="sum"))
    logged = OnLogits(nn.KLDivLoss(reduction="sum", log_target=True))
    for labels in (y, soft):
        torch.testing.assert_close(logged(logits, labels), plain(logits, labels))


def test_multi_label_margin_takes_rows_of_several_classes() -> None:
    outputs, y = torch.tensor([[0.1, 0.2, 0.4, 0.8]]), torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    # The example of torch's documentation: labels 3 and 0.
    torch.testing.assert_close(OnLogits(nn.MultiLabelMarginLoss())(outputs, y), torch.tensor(0.85))


@pytest.mark.parametrize("name", ["MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss"])
def test_regression_targets_are_passed_as_they_are(name: str, logits: Tensor) -> None:
    y = torch.full_like(logits, 7.5)
    torch.testing.assert_close(OnLogits(make(name))(logits, y), make(name)(logits, y))


def test_targets_that_would_be_broadcast_are_refused() -> None:
    with pytest.raises(UserError, match=r"MSELoss .* shape \(8, 1\), got \(8,\)"):
        OnLogits(nn.MSELoss())(torch.zeros(8, 1), torch.zeros(8))


def test_other_callables_are_called_as_they_are(logits: Tensor, y: Tensor, soft: Tensor) -> None:
    torch.testing.assert_close(
        OnLogits(my_cross_entropy)(logits, y), my_cross_entropy(logits, y), rtol=0, atol=0
    )
    assert OnLogits(lambda outputs, labels: labels)(logits, soft) is soft


@pytest.mark.parametrize("base", [nn.MSELoss, nn.NLLLoss, nn.BCELoss])
def test_a_subclass_is_fed_like_its_base(base: type[nn.Module], logits: Tensor, y: Tensor) -> None:
    class Doubled(base):
        def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
            return 2 * super().forward(outputs, labels)

    torch.testing.assert_close(OnLogits(Doubled())(logits, y), 2 * OnLogits(base())(logits, y))


def test_class_weights_follow_the_module_to_its_dtype(logits: Tensor, y: Tensor) -> None:
    loss = OnLogits(nn.NLLLoss(torch.ones(C))).double()
    assert loss(logits.double(), y).dtype == torch.float64
