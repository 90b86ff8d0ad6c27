"""Drawing a MuJoCo model through the suite's own cameras, without a screen.

A point at p appears at column (1 + x) pixels / 2 and row (1 - y) pixels / 2, where (x, y) = Camera.project(p).

Drawing costs vertices and passes, not pixels: no shadows, no reflections, no multisampling, no arm (the hand stays),
and vertices of a mesh that lie closer together than a third of a pixel are drawn as one.
OpenGL is EGL or OSMesa from the system's packages; the variable MUJOCO_GL says which, EGL where it does not say.
"""

from __future__ import annotations

import atexit
import importlib.util
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..results import CannotContinue
from .gaps import Camera

HIDDEN = 5  # a group of geoms that MuJoCo does not draw
NEARNESS = 0.24  # metres over a view's side: what a third of a pixel shows
TEXELS = 64  # side of a square of `Look.texture`'s checkerboard
PACKAGES = {"egl": "libegl1 libgl1-mesa-dri", "osmesa": "libosmesa6"}  # MUJOCO_GL -> packages of Debian and Ubuntu


@dataclass(frozen=True)
class Look:
    """How a domain looks, by the knobs that set it apart from the source, whose values are the defaults."""

    light: float = 1.0  # brightness of every light, relative to the source
    colours: tuple[int, int, int] = (0, 1, 2)  # which of the source's channels each channel is taken from
    texture: float = 0.0  # contrast of a checkerboard of TEXELS that is laid over every texture

    def apply(self, model: Any) -> None:
        """Change a model's lights, colours and textures; once, before a renderer is made for it."""
        for kind in ("ambient", "diffuse", "specular"):
            getattr(model, f"light_{kind}")[:] *= self.light
            getattr(model.vis.headlight, kind)[:] *= self.light
        colours = list(self.colours)
        for rgba in (model.geom_rgba, model.site_rgba, model.mat_rgba):
            rgba[:, :3] = rgba[:, colours]
        model.tex_data[:] = model.tex_data.reshape(-1, 3)[:, colours].ravel()
        for first, height, width in zip(model.tex_adr, model.tex_height, model.tex_width, strict=True):
            rows, columns = np.indices((height, width)) // TEXELS
            texels = model.tex_data[first : first + 3 * height * width].reshape(height, width, 3)
            bright = 1.0 + self.texture * (1 - 2 * ((rows + columns) % 2))
            texels[:] = np.clip(texels * bright[..., None], 0, 255).astype(np.uint8)


class Renderer:
    """Draws one model; raises CannotContinue without a GL library, with the package that has it.

    It holds an OpenGL context until it is closed, or the program ends: under OSMesa a context that is forgotten without
    being closed garbles what later ones draw.
    """

    def __init__(self, model: Any, pixels: int) -> None:
        import mujoco

        self._model, self._pixels, self._gl = model, pixels, _gl_context(pixels)
        model.vis.quality.offsamples = 0
        _hide_arm(model)
        self._gl.make_current()
        with _coarse_meshes(model, NEARNESS / pixels):
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene, self._option = mujoco.MjvScene(model, maxgeom=2000), mujoco.MjvOption()
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = 0
        atexit.register(self.close)

    def view(self, data: Any, camera: Camera) -> NDArray[np.uint8]:
        """(pixels, pixels, 3) what a camera sees of a state: red, green, blue; a RuntimeError after `close`."""
        import mujoco

        if self._gl is None:
            raise RuntimeError("a renderer draws until it is closed, and this one is. Make another world to draw more.")
        frame, all_parts = mujoco.MjrRect(0, 0, self._pixels, self._pixels), mujoco.mjtCatBit.mjCAT_ALL
        seen = np.empty((self._pixels, self._pixels, 3), np.uint8)
        self._model.vis.global_.fovy = math.degrees(2 * math.atan(1 / camera.focal))
        self._gl.make_current()
        mujoco.mjv_updateScene(self._model, data, self._option, None, _placed(camera), all_parts, self._scene)
        mujoco.mjr_render(frame, self._scene, self._context)
        mujoco.mjr_readPixels(seen, None, frame, self._context)
        return seen[::-1]

    def close(self) -> None:
        if self._gl is not None:
            self._gl.make_current()
            self._context.free()
            self._gl.free()
            self._gl = None
            atexit.unregister(self.close)


def _placed(camera: Camera) -> Any:
    """MuJoCo's free camera with a pinhole camera's eye and axes; it looks from `distance` away at `lookat`."""
    import mujoco

    placed, forward = mujoco.MjvCamera(), camera.axes[2]
    placed.type = mujoco.mjtCamera.mjCAMERA_FREE
    placed.distance, placed.lookat[:] = 1.0, camera.eye + forward
    placed.azimuth = math.degrees(math.atan2(forward[1], forward[0]))
    placed.elevation = math.degrees(math.asin(forward[2]))
    return placed


@contextmanager
def _coarse_meshes(model: Any, cell: float) -> Iterator[None]:
    """While the block runs each mesh has one vertex for each cell of a grid, and no face twice or without an area."""
    faces = [model.mesh_face, model.mesh_facenormal, model.mesh_facetexcoord]
    before = [array.copy() for array in (model.mesh_facenum, *faces)]
    for mesh in range(model.nmesh):
        first, count = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
        own = slice(model.mesh_vertadr[mesh], model.mesh_vertadr[mesh] + model.mesh_vertnum[mesh])
        kept, corners = coarse_faces(model.mesh_vert[own], model.mesh_face[first : first + count], cell)
        for array in faces:
            array[first : first + len(kept)] = array[first + kept]
        model.mesh_face[first : first + len(kept)], model.mesh_facenum[mesh] = corners, len(kept)
    try:
        yield
    finally:
        for array, old in zip((model.mesh_facenum, *faces), before, strict=True):
            array[:] = old


def coarse_faces(vertices: NDArray[Any], faces: NDArray[Any], cell: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Which faces (n, 3) stay, and their corners: of the vertices in a cell of a grid, the first."""
    _, first, cells = np.unique(np.floor(vertices / cell), axis=0, return_index=True, return_inverse=True)
    corners = first[cells.ravel()][faces]
    area = np.flatnonzero((corners != np.roll(corners, 1, axis=1)).all(1))
    _, once = np.unique(np.sort(corners[area], axis=1), axis=0, return_index=True)
    return area[once], corners[area[once]]


def _hide_arm(model: Any) -> None:
    """Hide the robot's geoms, its hand's excepted.  Physics does not know of groups of geoms."""
    hand = model.body("right_hand").id
    of_hand = {hand}
    for body in range(hand, model.nbody):  # parents come first
        if model.body_parentid[body] in of_hand:
            of_hand.add(body)
    of_arm = np.flatnonzero(model.body_rootid == model.body_rootid[hand])
    model.geom_group[np.isin(model.geom_bodyid, list(set(of_arm) - of_hand))] = HIDDEN


def _gl_context(pixels: int) -> Any:
    """MuJoCo's own context, whatever MUJOCO_GL was when mujoco was imported."""
    name = os.environ.get("MUJOCO_GL", "egl").lower()
    if name not in PACKAGES:
        raise CannotContinue(f"images are drawn with MUJOCO_GL set to {' or '.join(PACKAGES)}, got {name!r}.")
    _load_triton()
    try:
        return importlib.import_module(f"mujoco.{name}").GLContext(pixels, pixels)
    except Exception as error:  # PyOpenGL and the drivers each have errors of their own for a missing library
        raise _without_gl("images are drawn through OpenGL without a screen", name, error) from error


def _load_triton() -> None:
    """Mesa's OpenGL loads LLVM, after which Triton's own ends the process; torch's optimizers import Triton."""
    if importlib.util.find_spec("triton") is not None:
        with suppress(Exception):  # a Triton that cannot be imported ends nothing later either
            importlib.import_module("triton")


def check_simulator() -> None:
    """Import MuJoCo, which loads what MUJOCO_GL names; CannotContinue where that does not start."""
    try:
        import metaworld  # noqa: F401
    except ModuleNotFoundError:
        raise
    except Exception as error:  # as in _gl_context
        name = os.environ.get("MUJOCO_GL", "").lower()
        if "mujoco" in sys.modules or not name:  # it was loaded: this is another package's error
            raise
        raise _without_gl("MuJoCo loads the OpenGL that MUJOCO_GL names", name, error) from error


def check_drawing() -> None:
    """Raise CannotContinue where no image can be drawn."""
    _gl_context(pixels=8).free()


def _without_gl(rule: str, name: str, error: Exception) -> CannotContinue:
    said = f"{rule}, and MUJOCO_GL={name} did not start ({type(error).__name__}: {' '.join(str(error).split())})"
    if name not in PACKAGES:
        return CannotContinue(f"{said}. Set MUJOCO_GL to {' or '.join(PACKAGES)}.")
    (other,) = PACKAGES.keys() - {name}
    remedy = f"apt-get install {PACKAGES[name]}, or apt-get install {PACKAGES[other]} and set MUJOCO_GL={other}"
    return CannotContinue(f"{said}. {remedy}.")
