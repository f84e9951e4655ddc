"""Optimizers and learning-rate schedulers from hyperparameters.

To add an optimizer or scheduler nothing here needs a change: write a class anywhere and give its
import path, `--optimizer package.module.Class`. A module's own `configure_optimizers`, here with
param groups of its own, which keep their rates in every schedule and when a run is continued:

    backbone, head = self.net.backbone.parameters(), self.net.head.parameters()
    groups = [{"params": backbone, "lr": 1e-4}, {"params": head}]
    optimizer = build_optimizer({"name": "AdamW", "weight_decay": 0.1}, groups, lr=1e-3)
    return [optimizer], build_schedulers("OneCycleLR", optimizer, plan_of(self.trainer))
"""
