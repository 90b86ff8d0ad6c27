"""robomimic 0.3.0's own BC algos, small, with a batch and the loss of each sample told by their own code."""

from __future__ import annotations

from typing import Any

import robomimic.utils.obs_utils as ObsUtils
import torch
from robomimic.algo import algo_factory
from robomimic.config import config_factory
from torch import Tensor

B, T, STATE, ACTION = 6, 4, 5, 3


def algo(kind: str, image: bool = False) -> Any:
    """`kind` names parts: "gmm", "rnn", "transformer"."""
    config = config_factory("bc")
    with config.values_unlocked():
        config.observation.modalities.obs.low_dim = ["state"]
        config.observation.modalities.obs.rgb = ["image"] if image else []
        config.algo.actor_layer_dims = (16,)
        config.algo.optim_params.policy.learning_rate.initial = 1e-3
        config.algo.gmm.enabled = "gmm" in kind
        config.algo.gaussian.enabled = "gaussian" in kind
        config.algo.rnn.enabled, config.algo.rnn.hidden_dim, config.algo.rnn.horizon = "rnn" in kind, 16, T
        config.algo.transformer.enabled, config.algo.transformer.context_length = "transformer" in kind, T
        config.algo.transformer.embed_dim, config.algo.transformer.num_layers = 16, 1
        config.algo.transformer.num_heads = 2
        config.algo.transformer.emb_dropout = config.algo.transformer.attn_dropout = 0.0
        config.algo.transformer.block_output_dropout = 0.0
        config.train.seq_length = T if "rnn" in kind else 1
        config.train.frame_stack = T if "transformer" in kind else 1
    ObsUtils.initialize_obs_utils_with_config(config)
    shapes = {"state": [STATE], **({"image": [3, 32, 32]} if image else {})}
    made = algo_factory("bc", config, obs_key_shapes=shapes, ac_dim=ACTION, device=torch.device("cpu"))
    made.set_train()
    return made


def batch(kind: str, image: bool = False) -> dict[str, Any]:
    """A batch as the data loader gives it, before process_batch_for_training."""
    steps = T if kind.startswith(("rnn", "transformer")) else 1
    obs = {"state": torch.rand(B, steps, STATE), **({"image": torch.rand(B, steps, 3, 32, 32)} if image else {})}
    return {"obs": obs, "actions": torch.rand(B, steps, ACTION) * 2 - 1}


def per_sample(made: Any, data: Any) -> Tensor:
    """(b,) the loss of each sample, from the algo's own predictions."""
    predictions = made._forward_training(data)
    if "log_probs" in predictions:
        return -predictions["log_probs"].reshape(B, -1).mean(1)
    return (predictions["actions"] - data["actions"]).square().reshape(B, -1).mean(1)
