import torch
import torch.nn.functional as F

from lit_opt.losses import my_cross_entropy


def test_my_cross_entropy_equals_torchs_in_value_and_gradient() -> None:
    torch.manual_seed(0)
    logits = 5 * torch.randn(17, 4, dtype=torch.float64)
    labels = torch.randint(4, (17,))
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, reference = my_cross_entropy(ours, labels), F.cross_entropy(theirs, labels)
    loss.backward()
    reference.backward()
    torch.testing.assert_close(loss, reference)
    torch.testing.assert_close(ours.grad, theirs.grad)
