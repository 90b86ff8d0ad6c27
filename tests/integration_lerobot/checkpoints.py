"""A checkpoint of SmolVLA to fine-tune, whole and small: no file of the Hub is needed to make, load or run it.

FOLDER/vlm          configuration, weights, tokenizer and processors of a SmolVLM of two layers
FOLDER/smolvla      the policy's configuration, weights and processors
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)
from vlas import SIDE, features, parts

H = 4


def smolvla(folder: Path, cameras: tuple[str, ...] = ("top",), **more: Any) -> Path:
    """Write the policy, past its initialisation, and return its folder."""
    from lerobot.policies.factory import make_pre_post_processors

    _, policy, config = parts("smolvla")
    vlm(folder / "vlm")
    size = {"resize_imgs_with_padding": (SIDE, SIDE), "num_vlm_layers": 2, "tokenizer_max_length": 8}
    made = {"vlm_model_name": str(folder / "vlm"), "chunk_size": H, "num_steps": 3, **size, **more}
    given = features()
    given["input_features"] = {
        name: each
        for name, each in given["input_features"].items()
        if "images" not in name or name.endswith(tuple(cameras))
    }
    ours = policy(config(**given, **made, push_to_hub=False))
    ours.save_pretrained(folder / "smolvla")
    for each in make_pre_post_processors(ours.config):
        each.save_pretrained(folder / "smolvla")
    return folder / "smolvla"


def vlm(folder: Path) -> None:
    """A SmolVLM, as the Hub's is laid out."""
    heads = {"num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32}
    vision = {"hidden_size": 16, "image_size": SIDE, "patch_size": 8, **heads}
    text = {"hidden_size": 32, "vocab_size": 64, "num_key_value_heads": 1, "head_dim": 16, "model_type": "llama"}
    own = {"vision_config": vision, "text_config": {**text, **heads}, "scale_factor": 2, "image_token_id": 1}
    SmolVLMForConditionalGeneration(SmolVLMConfig(**own)).save_pretrained(folder)
    words = ["<pad>", "<image>", "<fake_token_around_image>", "<global-img>", "<unk>", "reach", "\n"]
    tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    named = {"fake_image_token": words[2], "global_image_token": words[3], "image_token": words[1]}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", extra_special_tokens=named
    )
    SmolVLMProcessor(SmolVLMImageProcessor(), fast, SmolVLMVideoProcessor()).save_pretrained(folder)
