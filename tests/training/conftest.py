"""What tests of the training share: a tiny text-to-video pipeline as the ModelScope weights come."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, TextToVideoSDPipeline, UNet3DConditionModel

from trip.model.build import build_text_encoder
from trip.model.text import train_tokenizer
from trip.settings import PRESETS


@pytest.fixture(scope="session")
def text_to_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["the camera pans right"], vocabulary=600, max_tokens=16)
    folder = tmp_path_factory.mktemp("base") / "text-to-video"
    TextToVideoSDPipeline(
        vae=AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
        ),
        text_encoder=build_text_encoder(PRESETS["tiny"].model, len(tokenizer)),
        tokenizer=tokenizer,
        unet=UNet3DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
            layers_per_block=1,
            norm_num_groups=4,
            cross_attention_dim=16,
            attention_head_dim=8,
        ),
        scheduler=DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1
        ),
    ).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n\nRandom weights, for tests.\n")
    return folder
