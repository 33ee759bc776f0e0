"""A small PE-AV with random weights and a ViT of transformers for frames: the published image model needs timm."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

BLOCKS = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "head_dim": 12,
}
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 32,
    "patch_size": 16,
    "num_labels": 10,
}
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 40,
    **{f"{name}_token_id": number for number, name in enumerate(("pad", "bos", "eos", "cls", "sep"))},
}
CODEC = {"encoder_hidden_size": 4, "downsampling_ratios": [2, 4], "codebook_dim": 6, "hidden_size": 16}


def save_tiny_pe_av(folder: Path) -> transformers.PeAudioVideoModel:
    """Save the model in a folder and return it."""
    config = transformers.PeAudioVideoConfig(
        text_config={"model_type": "modernbert", **TEXT},
        audio_video_config={
            "audio_config": {"model_type": "pe_audio_encoder", "dac_config": CODEC, **BLOCKS},
            "video_config": {"model_type": "pe_video_encoder", **BLOCKS},
            **BLOCKS,
        },
    )
    config.audio_video_config.video_config.vision_config = transformers.ViTConfig(**VIT)
    torch.manual_seed(1)
    model = transformers.PeAudioVideoModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.01, 0.15)
    model.save_pretrained(folder)
    return model
