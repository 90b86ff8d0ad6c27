"""`cotrain export`: a checkpoint for deployment.

the method adds nothing at inference   the policy alone, which stock LeRobot loads without this package
guided                                 a policy of type cotrain, which lerobot_policy_cotrain loads and guides
guided, bare                           the policy alone: the unconditional branch
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ...guidance import DomainGuidance
from ...policy import keeping
from ..report import check_writable
from . import files
from .attach import sketched
from .settings import Refused, Settings, json_object

PLUGIN = "lerobot_policy_cotrain"
KEPT = ("input_features", "output_features", "device", "use_amp", "repo_id", "private", "tags", "license")


def exported(checkpoint: Path, out: Path, bare: bool = False) -> str:
    """Write a checkpoint's policy to a new folder, and say what it is; nothing is left of one that cannot be read."""
    inside = checkpoint / "pretrained_model"
    folder = inside if inside.is_dir() else checkpoint
    config = _config(folder)
    if out.exists() or folder.resolve() in out.resolve().parents:
        raise Refused(f"a policy is written to a new folder beside its checkpoint, got {out}. Name another.")
    check_writable(out, "a policy is written to a folder", "Name another.")
    try:
        shutil.copytree(folder, out, ignore=shutil.ignore_patterns("cotrain.*", keeping.FILE))
        return _converted(config, folder, out, bare)
    except Exception as error:  # JSON, torch and safetensors raise what they like on files that are not theirs
        shutil.rmtree(out, ignore_errors=True)
        if isinstance(error, Refused | ImportError):
            raise
        told = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise Refused(
            f"a checkpoint is read as LeRobot and cotrain lerobot-train write it, got {checkpoint}, which is damaged "
            f"or has other files ({told}). Copy it again."
        ) from error


def _config(folder: Path) -> dict[str, Any]:
    """The configuration of a policy whose files look whole."""
    path, weights = folder / "config.json", folder / "model.safetensors"
    if not path.is_file():
        raise Refused(f"a LeRobot checkpoint holds a config.json, got {folder}, which has none.")
    if not weights.is_file():
        raise Refused(f"a whole policy is in model.safetensors, got {folder} without. Merge adapters into it.")
    config = json_object(path.read_text(errors="replace"), str(path))
    if not isinstance(config.get("type"), str):
        raise Refused(f'a policy\'s config.json has its "type", got {config.get("type")!r} in {path}.')
    with weights.open("rb") as file:
        length, first = int.from_bytes(file.read(8), "little"), file.read(1)
    if first != b"{" or length > weights.stat().st_size - 8:
        raise Refused(
            f"weights are read from a safetensors file, got {weights}, which is damaged or a Git LFS pointer. Copy it "
            "again, or run git lfs pull."
        )
    return config


def _converted(config: dict[str, Any], folder: Path, out: Path, bare: bool) -> str:
    if config["type"] == "cotrain":
        return _of_plugin(config, out, bare)
    text = files.read_settings(folder)
    guidance = None if text is None or bare else _guidance(Settings.of(text))
    if text is None or guidance is None:
        return f"{out}: a {config['type']} policy, which LeRobot loads without this package"
    return _with_guidance(config, guidance, json.loads(text), keeping.read(folder), out)


def _guidance(settings: Settings) -> DomainGuidance | None:
    return sketched(settings.method, ratio=0.5, domains=len(settings.datasets)).guidance


def _with_guidance(config: dict[str, Any], guidance: DomainGuidance, run: dict[str, Any], state: Any, out: Path) -> str:
    """A launcher's checkpoint as one of the plugin's: the policy, and its tokens."""
    args = {key: value for key, value in config.items() if key not in (*KEPT, "type")}
    names = list(run["domains"])
    how = f"scale={guidance.scale}, drop={guidance.drop}, domains={len(names)}"
    made = {"type": "cotrain", "base_type": config["type"], "base_args": args, "method": f"cfg({how})"}
    made |= {"domains": names, "target": names[0], **{key: config[key] for key in KEPT if key in config}}
    (out / "config.json").write_text(json.dumps(made, indent=4))
    own = {name.removeprefix("guidance."): value for name, value in state.items() if name.startswith("guidance.")}
    _renamed(out, lambda key: f"policy.{key}", {f"method.0.{name}": value for name, value in own.items()})
    return _needs_plugin(out)


def _of_plugin(config: dict[str, Any], out: Path, bare: bool) -> str:
    """A checkpoint of the plugin's: as it is where it is guided, else its policy alone."""
    if sketched(config["method"], ratio=0.5).guidance is not None and not bare:
        return _needs_plugin(out)
    if config.get("adapters"):
        raise Refused(f"--bare writes a policy without adapters, got {out.name} with. Merge them first.")
    base = {"type": config["base_type"], **config["base_args"], **{k: config[k] for k in KEPT if k in config}}
    (out / "config.json").write_text(json.dumps(base, indent=4))
    _renamed(out, lambda key: key.removeprefix("policy.") if key.startswith("policy.") else None, {})
    return f"{out}: a {config['base_type']} policy, which LeRobot loads without this package"


def _renamed(out: Path, name: Any, more: dict[str, Any]) -> None:
    from safetensors.torch import load_file, save_file  # LeRobot's; this file runs beside it

    path = out / "model.safetensors"
    renamed = {name(key): value for key, value in load_file(path).items()}
    save_file({key: value for key, value in renamed.items() if key is not None} | more, path)


def _needs_plugin(out: Path) -> str:
    return f"{out}: a guided policy of type cotrain, which LeRobot loads where {PLUGIN} is installed"
