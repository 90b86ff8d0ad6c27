"""LeRobot's asynchronous policy server, to which the policy type `cotrain` is known.

    python -m lerobot_policy_cotrain.policy_server --host=127.0.0.1 --port=8080

LeRobot's own server imports no plugins and serves a list of policy types; its options are these.
"""

from __future__ import annotations

from lerobot.async_inference.constants import SUPPORTED_POLICIES
from lerobot.async_inference.policy_server import PolicyServer, serve

from .modeling_cotrain import CotrainPolicy

__all__ = ["PolicyServer", "serve"]

if CotrainPolicy.name not in SUPPORTED_POLICIES:
    SUPPORTED_POLICIES.append(CotrainPolicy.name)

if __name__ == "__main__":
    serve()
