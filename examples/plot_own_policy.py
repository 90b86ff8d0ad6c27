"""
Your own policy
===============

A policy of twenty lines, trained on the target alone and by plain co-training on the data of `cotrain demo-data`, at
three ratios. The points are two seeds; the error is on 50 target episodes that no policy has seen.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

import cotrain_losses as ctl
from cotrain_losses.cli.demo_data import demonstrations


class Policy(nn.Module):
    """An encoder, a head, a loss."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU()
        )
        self.head = nn.Linear(32, 2)

    def forward(self, state):
        return self.head(self.encoder(state))

    def compute_loss(self, batch):
        return (self(batch["state"]) - batch["action"]).square().mean()


def scaled(domain, episodes, seed):
    """States and actions, scaled to about one."""
    drawn = {
        name: torch.tensor(value).float()
        for name, value in demonstrations(domain, episodes, seed).items()
    }
    return {"state": 4 * drawn["state"], "action": 40 * drawn["action"]}


sim, real, unseen = scaled("sim", 60, 0), scaled("real", 4, 0), scaled("real", 50, 1)
data = {name: torch.cat([sim[name], real[name]]) for name in sim}
is_target = torch.arange(len(data["state"])) >= len(sim["state"])


def error(method, seed, steps=250):
    """Mean distance from the recorded command after training."""
    torch.manual_seed(seed)
    policy = Policy()
    cotrain = ctl.CoTrain(
        policy, method, seam=ctl.Seam(feature="encoder", head="head", sampler=False)
    )
    optimizer = torch.optim.AdamW(cotrain.parameters(), 3e-3)
    sampler = ctl.MixedBatchSampler(
        is_target, batch_size=64, ratio=method.ratio, seed=seed
    )
    batches = (index for _ in range(steps) for index in sampler)
    for _, index in zip(range(steps), batches, strict=False):
        optimizer.zero_grad()
        batch = {name: value[index] for name, value in data.items()}
        cotrain(batch, domain=is_target[index]).total.backward()
        optimizer.step()
    with torch.no_grad():
        return (policy(unseen["state"]) - unseen["action"]).norm(dim=1).mean().item()


methods = {
    "target alone": ctl.recipes.real_only(),
    "ratio 0.06": ctl.recipes.cotraining(0.06),
    "ratio 0.13": ctl.recipes.cotraining(0.13),
    "ratio 0.3": ctl.recipes.cotraining(0.3),
}
figure, axis = plt.subplots(figsize=(5.6, 3), layout="constrained")
for row, (_, method) in enumerate(methods.items()):
    errors = [error(method.fresh(), seed) for seed in (0, 1)]
    axis.scatter(
        errors,
        [row] * len(errors),
        color="#0072B2" if row else "#D55E00",
        marker="o" if row else "^",
    )
axis.set_yticks(range(len(methods)), list(methods))
axis.set(xlabel="mean distance from the recorded command (1/40 m)", xlim=(0, 0.4))
axis.set_ylim(len(methods) - 0.5, -0.5)
axis.grid(axis="x", alpha=0.3)
plt.show()
