"""The suite drives the real pipeline, with small random networks; the command refuses misuse."""

from pathlib import Path
from typing import Any

import pytest
import torch
from talkers import MouthTracker, babble, write_talker
from typer.testing import CliRunner

from latentsync.cli.evaluate import app
from latentsync.core.errors import ConfigError, MediaError
from latentsync.data.sources import Speaker
from latentsync.evaluation.clips import clips_of
from latentsync.evaluation.methods import Method
from latentsync.evaluation.results import MODEL, UNTOUCHED, SuiteOptions
from latentsync.evaluation.suite import run_suite


def small_lipsync() -> object:
    from latentsync.generation.networks import Networks
    from latentsync.generation.settings import ModelSettings
    from latentsync.models.audio_encoder import AudioEncoder, AudioEncoderConfig
    from latentsync.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
    from latentsync.models.unet import UNet
    from latentsync.pipeline import Lipsync

    torch.manual_seed(0)
    unet = UNet.from_config(
        {
            "in_channels": 13,
            "out_channels": 4,
            "block_out_channels": [16, 16],
            "layers_per_block": 1,
            "down_block_types": ["CrossAttnDownBlock3D"] * 2,
            "up_block_types": ["CrossAttnUpBlock3D"] * 2,
            "norm_num_groups": 8,
            "attention_head_dim": 2,
            "cross_attention_dim": 24,
            "use_motion_module": True,
        }
    )
    autoencoder = TinyAutoencoder(TinyAutoencoderConfig(latent_channels=4, widths=(8, 8, 8)))
    audio_encoder = AudioEncoder(
        AudioEncoderConfig(width=24, num_layers=1, num_heads=2, feed_forward=24, positions=200)
    )
    networks = Networks(
        unet.eval(),
        autoencoder.eval(),
        audio_encoder.eval(),
        torch.device("cpu"),
        torch.float32,  # type: ignore[arg-type]
    )
    return Lipsync(networks, ModelSettings(resolution=64), MouthTracker(), "small")  # type: ignore[arg-type]


def test_an_untrained_model_is_driven_and_scored(tmp_path: Path) -> None:
    for person in range(2):
        write_talker(tmp_path / f"p{person}.mp4", babble(person, 40), person)
    lipsync = small_lipsync()

    def drive(video: Path, speech: Path, out: Path) -> None:
        lipsync(video, speech, out, steps=1, keep_audio="encode")  # type: ignore[operator]

    options = SuiteOptions(resolution=64, protocols=("cross", "silent"))
    found = run_suite(clips_of(tmp_path, Speaker(r"(p\d)")), [Method(MODEL, drive)], MouthTracker(), options)
    assert found.failed == []
    model = {row.protocol: row.scores for row in found.rows if row.system == MODEL}
    untouched = {row.protocol: row.scores for row in found.rows if row.system == UNTOUCHED}
    assert model["cross"]["cross_r"] < 0.6  # it has learnt nothing
    assert model["cross"]["ssim_rest"] > 0.95  # but it touches the mouth region only
    assert model["cross"]["sharpness_ratio"] != pytest.approx(untouched["cross"]["sharpness_ratio"], abs=0.05)


def test_the_command_refuses_before_any_work(tmp_path: Path) -> None:
    out = tmp_path / "report"
    runner = CliRunner()
    wrong = runner.invoke(app, [str(tmp_path), "-o", str(out), "--protocol", "crosss"])
    assert isinstance(wrong.exception, ConfigError) and "choose of" in str(wrong.exception)
    empty = runner.invoke(app, [str(tmp_path), "-o", str(out)])
    assert isinstance(empty.exception, MediaError) and "no clips" in str(empty.exception)
    assert not out.exists()
    out.mkdir()
    (out / "report.json").write_text("{}")
    again = runner.invoke(app, [str(tmp_path), "-o", str(out)])
    assert isinstance(again.exception, MediaError) and "--overwrite" in str(again.exception)
    help_page = runner.invoke(app, ["--help"])
    assert help_page.exit_code == 0 and "--syncnet-v2" in help_page.output


@pytest.mark.parametrize(
    ("people", "asked", "left"),
    [
        (1, [], ("reconstruction", "silent", "shifted")),
        (2, [], ("reconstruction", "cross", "silent", "shifted")),
        (1, ["--protocol", "cross"], ("cross",)),
    ],
)
def test_nobody_else_to_lend_speech(
    tmp_path: Path, people: int, asked: list[str], left: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for person in range(people):
        write_talker(tmp_path / f"p{person}.mp4", babble(person, 20), person)
    seen: dict[str, Any] = {}

    def load(**given: Any) -> object:
        seen.update(given)
        return small_lipsync()

    def note(clips: Any, methods: Any, tracker: Any, options: SuiteOptions, *_: Any, **__: Any) -> None:
        seen["protocols"] = options.protocols
        raise MediaError("seen enough")

    monkeypatch.setattr("latentsync.pipeline.Lipsync.from_pretrained", load)
    monkeypatch.setattr("latentsync.evaluation.suite.run_suite", note)
    words = [
        str(tmp_path),
        "--speaker",
        r"(p\d)",
        "-o",
        str(tmp_path / "report"),
        "--adapter",
        "mine.safetensors",
        *asked,
    ]
    assert isinstance(CliRunner().invoke(app, words).exception, MediaError)
    assert seen["protocols"] == left
    assert seen["adapter"] == Path("mine.safetensors")
