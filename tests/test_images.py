"""Pictures agree with the cameras of the keypoints and look as the knobs say."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from cotrain_bench.results import CannotContinue
from cotrain_bench.sim2sim import rendering
from cotrain_bench.sim2sim.gaps import GAPS, Gap
from cotrain_bench.sim2sim.image_cell import ImageCell
from cotrain_bench.sim2sim.images import LOOKS, PIXELS, PROPRIOCEPTION, ImageWorld
from cotrain_bench.sim2sim.rendering import Look, Renderer, coarse_faces
from cotrain_bench.sim2sim.run import Runner, compute_cells
from cotrain_bench.sim2sim.world import World

from tests.pictures import MOTIONS, world
from tests.worlds import KeptImages


def moved(here: ImageWorld, seed: int = 3):
    episode = here.episode(seed)
    for motion in MOTIONS:
        episode.step(here.gap.command(motion))
    return episode


# pictures


def test_an_observation_is_both_views_the_hand_and_the_gripper():
    episode = moved(world("none"))
    seen, views = episode.observation(), episode.views()
    assert seen.shape == (2 * 3 * PIXELS**2 + PROPRIOCEPTION,) and seen.dtype == np.float32
    assert views.shape == (2, 48, 48, 3) and views.dtype == np.uint8 and views.std() > 20
    np.testing.assert_array_equal(seen[:-4].reshape(views.shape), views)
    np.testing.assert_allclose(seen[-4:-1], episode.keypoints()[0], atol=1e-6)
    plain = moved(World("pick-place", Gap()))
    assert seen[-1] == np.float32(plain.observation()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="Triton is there on Linux alone")
def test_triton_can_be_imported_after_a_picture_was_drawn():
    code = "from cotrain_bench.sim2sim.rendering import check_drawing; check_drawing(); import triton"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_same_episode_gives_the_same_pixels_in_any_renderer_closed_or_alive():
    with ImageWorld("pick-place", GAPS["none"]) as first:
        once = moved(first).views()
    with ImageWorld("pick-place", GAPS["none"]) as second, ImageWorld("pick-place", GAPS["visual"]) as other:
        moved(other).views()
        np.testing.assert_array_equal(moved(second).views(), once)
    np.testing.assert_array_equal(moved(world("none")).views(), once)


@pytest.mark.parametrize("pixels", [48, 160])
@pytest.mark.parametrize("gap", ["none", "visual", "hard"])
@pytest.mark.parametrize(("point", "geoms"), [(3, ["objGeom"]), (1, ["rightpad_geom", "rightclaw_it"])])
def test_a_thing_is_drawn_where_its_keypoint_is_projected(gap, pixels, point, geoms):
    here = KeptImages("pick-place", GAPS[gap], pixels=pixels)
    episode, model = moved(here), here.env.model
    plain, was = episode.views().astype(int), (model.geom_rgba.copy(), model.geom_matid.copy())
    ids = [model.geom(name).id for name in geoms]
    model.geom_rgba[ids], model.geom_matid[ids] = (0, 1, 0, 1), -1
    painted = episode.views().astype(int)
    model.geom_rgba[:], model.geom_matid[:] = was
    centre = np.mean([here.latest.data.geom(name).xpos for name in geoms], axis=0)
    near = episode.keypoints()[point]
    assert np.linalg.norm(centre - near) < 0.06
    for camera, before, after in zip(here.cameras, plain, painted, strict=True):
        rows, columns = (np.abs(after - before).max(-1) > 20).nonzero()
        assert len(rows)
        x, y = camera.project(centre[None])[0]
        assert abs(columns.mean() + 0.5 - (1 + x) * pixels / 2) < 1 + 0.01 * pixels
        assert abs(rows.mean() + 0.5 - (1 - y) * pixels / 2) < 1 + 0.01 * pixels


def test_only_the_gaps_that_are_to_be_seen_change_the_picture():
    seen = {name for name, gap in GAPS.items() if {k[:6] for k in gap.differences()} & {"camera"}}
    assert {*LOOKS} - {"other"} == {
        name for name in seen if not name.startswith("camera-")
    }  # those move the camera alone
    source = world("none").episode(3).views()
    np.testing.assert_array_equal(world("control").episode(3).views(), source)
    assert np.abs(world("visual").episode(3).views().astype(int) - source).mean() > 10


def test_permuted_colours_permute_the_channels_and_half_the_light_halves_every_lit_pixel():
    def seen(look: Look):
        with ImageWorld("pick-place", Gap(), look) as here:
            return here.episode(3).views().astype(float)

    np.testing.assert_allclose(seen(Look(colours=(1, 2, 0))), seen(Look())[..., [1, 2, 0]], atol=1.0)
    bright, dim, sky = seen(Look(light=0.4)), seen(Look(light=0.2)), seen(Look(light=0.0)) > 0  # the sky is not lit
    lit = (bright > 40) & ~sky
    assert lit.mean() > 0.3 and sky.mean() < 0.3
    np.testing.assert_allclose(dim[lit] / bright[lit], 0.5, atol=0.03)


@pytest.mark.parametrize("pixels", [48, 192])
def test_coarse_meshes_change_few_pixels_and_leave_the_model_as_it_was(pixels, monkeypatch):
    def seen() -> np.ndarray:
        with ImageWorld("pick-place", GAPS["camera-40"], pixels=pixels) as here:
            faces.append((here.env.model.mesh_facenum.copy(), here.env.model.mesh_face.copy()))
            return here.episode(0).views().astype(float)

    faces: list[tuple[np.ndarray, np.ndarray]] = []
    coarse = seen()
    monkeypatch.setattr(rendering, "NEARNESS", 1e-9)
    whole = seen()
    assert 0 < (coarse != whole).any(-1).mean() < 0.01 and np.abs(coarse - whole).mean() < 0.1
    assert all(map(np.array_equal, *faces))


def test_vertices_of_one_cell_are_one_and_faces_without_an_area_or_drawn_twice_are_left_out():
    vertices = np.array([[0.1, 0, 0], [0.2, 0, 0], [1.5, 0, 0], [0, 1.5, 0], [0, 1.6, 0]])
    faces = np.array([[1, 2, 3], [0, 1, 2], [2, 4, 0], [2, 3, 4]])
    kept, corners = coarse_faces(vertices, faces, 1.0)
    np.testing.assert_array_equal(kept, [0])
    np.testing.assert_array_equal(corners, [[0, 2, 3]])
    for_all, same = coarse_faces(vertices, faces, 1e-3)
    np.testing.assert_array_equal(same, faces[for_all])
    assert sorted(for_all) == [0, 1, 2, 3]


def test_a_closed_world_says_so():
    with ImageWorld("pick-place", Gap()) as here:
        episode = here.episode(0)
    with pytest.raises(RuntimeError, match=r"draws until it is closed, and this one is\. Make another world"):
        episode.observation()


# OpenGL

WITHOUT_GL = """
import mujoco
from cotrain_bench.results import CannotContinue
from cotrain_bench.sim2sim.rendering import Renderer
try:
    Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8)
except CannotContinue as error:
    print(error)
"""


def test_a_missing_gl_library_is_one_sentence_with_its_package(tmp_path):
    there = {**os.environ, "MUJOCO_GL": "egl", "__EGL_VENDOR_LIBRARY_FILENAMES": str(tmp_path / "none.json")}
    ran = subprocess.run([sys.executable, "-c", WITHOUT_GL], env=there, capture_output=True, text=True, check=True)
    (line,) = ran.stdout.splitlines()
    assert "MUJOCO_GL=egl did not start" in line
    assert "apt-get install libegl1 libgl1-mesa-dri, or apt-get install libosmesa6 and set MUJOCO_GL=osmesa." in line


WITHOUT_OSMESA = """
import ctypes
class Others(ctypes.CDLL):
    def __init__(self, name, *more, **how):
        if "OSMesa" in str(name):
            raise OSError(f"{name} is not here")
        super().__init__(name, *more, **how)
ctypes.CDLL, ctypes.cdll = Others, ctypes.LibraryLoader(Others)
from cotrain_losses.cli import main
main()
"""


@pytest.mark.parametrize("name", ["nonsense", "osmesa"])
def test_a_mujoco_gl_that_mujoco_cannot_load_ends_a_run_before_anything_is_computed(name, tmp_path):
    arguments = ["bench", "sim2sim", "--preset", "smoke", "--out", str(tmp_path / "out")]
    there = {**os.environ, "MUJOCO_GL": name, "COTRAIN_CACHE": str(tmp_path / "cache")}
    ran = subprocess.run([sys.executable, "-c", WITHOUT_OSMESA, *arguments], env=there, capture_output=True, text=True)
    (line,) = ran.stderr.splitlines()
    assert ran.returncode == 1 and f"MUJOCO_GL={name.lower()} did not start" in line
    assert line.endswith("Set MUJOCO_GL to egl or osmesa." if name != "osmesa" else "and set MUJOCO_GL=egl.")
    assert list(tmp_path.iterdir()) == []


def test_a_study_of_images_without_gl_ends_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setenv("__EGL_VENDOR_LIBRARY_FILENAMES", str(tmp_path / "none.json"))
    monkeypatch.setenv("MUJOCO_GL", "egl")
    with pytest.raises(CannotContinue, match="MUJOCO_GL=egl did not start"):
        compute_cells([ImageCell()], tmp_path / "out", Runner(workers=1))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_mujoco_gl_is_named(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    with pytest.raises(CannotContinue, match="MUJOCO_GL set to egl or osmesa, got 'glfw'"):
        Renderer(world("none").env.model, 8)


# demonstrations


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_CACHE", str(tmp_path / "cache"))
