"""What an episode of the nut task takes of robosuite, standing still at points that a test chooses."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

import numpy as np
from cotrain_bench.sim2sim.gaps import Gap
from cotrain_bench.sim2sim.nut_assembly import NutEpisode


class Still:
    """A NutWorld whose hand, fingers, nut, handle and peg (6, 3) are given, and how far its gripper is open."""

    def __init__(self, points: np.ndarray, opening: float) -> None:
        hand, right, left, nut, handle, peg = points
        bodies = {"gripper0_right_rightfinger": right, "gripper0_right_leftfinger": left, "nut": nut, "peg": peg}
        self.gap, self.cameras, self.start = Gap(), [SimpleNamespace(project=lambda seen: seen)], None
        self.gripper = SimpleNamespace(current_action=np.zeros(1))
        self.model = SimpleNamespace(joint=lambda name: SimpleNamespace(qposadr=[0]))
        self.data = SimpleNamespace(
            qpos=np.append(np.zeros(14), [0.04 * opening, -0.04 * opening]),
            site_xpos=np.stack([hand, handle]),
            site_xmat=np.eye(3)[None],
            body=lambda name: SimpleNamespace(xpos=bodies[name]),
        )
        self.env = SimpleNamespace(
            nuts=[SimpleNamespace(joints=["nut"])],
            obj_body_id={"SquareNut": "nut"},
            object_site_ids=[1],
            peg1_body_id="peg",
        )
        self.robot = SimpleNamespace(
            init_qpos=np.zeros(7),
            eef_site_id={"right": 0},
            _ref_arm_joint_pos_indexes=[*range(7, 14)],
            _ref_gripper_joint_pos_indexes={"right": [14, 15]},
        )

    def state(self) -> None:
        """Nothing moves."""

    def restore(self, state: None) -> None:
        """Nothing moves."""


def standing(points: np.ndarray, opening: float = 1.0) -> NutEpisode:
    """An episode at those points, as seen by one camera that leaves them where they are."""
    names = ("robosuite", "robosuite.utils", "robosuite.utils.transform_utils")
    modules = {name: ModuleType(name) for name in names}
    vars(modules[names[-1]]).update(mat2quat=lambda matrix: np.zeros(4), quat2axisangle=lambda turn: np.zeros(3))
    with patch.dict(sys.modules, modules):
        return NutEpisode(Still(points, opening), seed=0)
