"""The audio encoder against transformers' own encoder, its checkpoints, and its config."""

from __future__ import annotations

import json

import pytest
import torch

from latentsync.core.errors import ConfigError, WeightsError
from latentsync.models.audio_encoder import (
    AudioEncoder,
    AudioEncoderConfig,
    rename_hub_whisper,
    rename_openai_whisper,
)
from latentsync.models.whisper import sinusoids

SMALL = {"width": 32, "num_layers": 2, "num_heads": 2, "feed_forward": 64, "positions": 50}


def small(**changes: object) -> AudioEncoder:
    torch.manual_seed(0)
    audio_encoder = AudioEncoder.from_config({**SMALL, **changes}).eval()
    with torch.no_grad():
        for parameter in audio_encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return audio_encoder


def mel(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 80, 100, generator=torch.Generator().manual_seed(1))


def hub_model() -> torch.nn.Module:
    from transformers import WhisperConfig, WhisperModel

    torch.manual_seed(5)
    config = WhisperConfig(
        d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=64, max_source_positions=50,
        decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=64, vocab_size=100, max_target_positions=8,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    return WhisperModel(config).eval()


def openai_state(hub: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """An OpenAI file with the encoder of a Hub model: the names written out one by one, and a decoder key."""
    state = {"decoder.token_embedding.weight": torch.zeros(3, 3)}
    for conv in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            state[f"encoder.{conv}.{kind}"] = hub[f"encoder.{conv}.{kind}"]
    state["encoder.positional_embedding"] = hub["encoder.embed_positions.weight"]
    for kind in ("weight", "bias"):
        state[f"encoder.ln_post.{kind}"] = hub[f"encoder.layer_norm.{kind}"]
        for block in range(2):
            ours, theirs = f"encoder.blocks.{block}", f"encoder.layers.{block}"
            state[f"{ours}.attn_ln.{kind}"] = hub[f"{theirs}.self_attn_layer_norm.{kind}"]
            state[f"{ours}.mlp_ln.{kind}"] = hub[f"{theirs}.final_layer_norm.{kind}"]
            state[f"{ours}.mlp.0.{kind}"] = hub[f"{theirs}.fc1.{kind}"]
            state[f"{ours}.mlp.2.{kind}"] = hub[f"{theirs}.fc2.{kind}"]
            for name, proj in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "out_proj")):
                if (name, kind) != ("key", "bias"):
                    state[f"{ours}.attn.{name}.{kind}"] = hub[f"{theirs}.self_attn.{proj}.{kind}"]
    return state


def test_position_table_golden_values() -> None:
    row = sinusoids(1500, 384)[1]
    assert row[:3].tolist() == pytest.approx([0.8415, 0.8151, 0.7883], abs=5e-5)
    assert row[192:195].tolist() == pytest.approx([0.5403, 0.5793, 0.6153], abs=5e-5)
    assert torch.equal(small().encoder.embed_positions.weight, sinusoids(50, 32))


def test_whisper_tiny_has_the_released_size() -> None:
    with torch.device("meta"):
        audio_encoder = AudioEncoder(AudioEncoderConfig())
    sizes = {key: value.numel() for key, value in audio_encoder.state_dict().items()}
    assert sizes.pop("encoder.embed_positions.weight") == 1500 * 384
    assert sum(sizes.values()) == 7_632_384
    assert (audio_encoder.positions, audio_encoder.num_states, audio_encoder.width) == (1500, 5, 384)


def test_states_are_those_of_the_layers_without_the_last_norm() -> None:
    audio_encoder = small()
    with torch.no_grad():
        states = audio_encoder(mel())
        *_, last, final = audio_encoder.encoder(mel())
    assert states.shape == (2, 50, 3, 32)
    torch.testing.assert_close(states[:, :, 2], last)
    torch.testing.assert_close(audio_encoder.encoder.layer_norm(states[:, :, 2]), final)
    assert (states[:, :, 2] - final).abs().max() > 0.1, "the last layer norm must not be in the states"


def test_hub_and_openai_files_give_the_states_of_the_hub_model() -> None:
    hub = hub_model()
    with torch.no_grad():
        want = hub.encoder(mel(), output_hidden_states=True)
        for state in (hub.state_dict(), hub.encoder.state_dict(), openai_state(hub.state_dict())):
            audio_encoder = small()
            audio_encoder.load_whisper(state)
            states = audio_encoder(mel())
            for index in (0, 1):
                torch.testing.assert_close(states[:, :, index], want.hidden_states[index])
            torch.testing.assert_close(hub.encoder.layer_norm(states[:, :, 2]), want.last_hidden_state)


def test_renaming_gives_exactly_our_keys() -> None:
    own = set(small().state_dict())
    hub = hub_model().state_dict()
    assert set(rename_hub_whisper(hub)) == own
    assert set(rename_hub_whisper({f"model.{key}": value for key, value in hub.items()})) == own
    assert set(rename_openai_whisper(openai_state(hub))) == own


def test_weights_that_do_not_fit_are_refused() -> None:
    state = openai_state(hub_model().state_dict())
    del state["encoder.blocks.1.mlp.0.bias"]
    with pytest.raises(WeightsError, match=r"missing encoder\.layers\.1\.fc1\.bias; unknown none"):
        small().load_whisper(state)
    with pytest.raises(WeightsError, match=r"unknown encoder.layers.1.fc1.bias, .* and 10 more"):
        small(num_layers=1).load_whisper(openai_state(hub_model().state_dict()))
    with pytest.raises(WeightsError, match=r"another shape encoder\.embed_positions\.weight"):
        small(positions=40).load_whisper(openai_state(hub_model().state_dict()))


def test_chosen_states_norm_and_projection() -> None:
    full, last = small(), small(states=[2, 0], final_norm=True)
    last.load_state_dict(full.state_dict())
    with torch.no_grad():
        states, chosen = full(mel()), last(mel())
        assert chosen.shape == (2, 50, 2, 32)
        torch.testing.assert_close(chosen[:, :, 0], full.encoder.layer_norm(states[:, :, 2]))
        torch.testing.assert_close(chosen[:, :, 1], states[:, :, 0])
        projected = small(states=[2], output_width=24)
        projected.load_state_dict(full.state_dict(), strict=False)
        assert projected.project is not None
        torch.testing.assert_close(projected(mel()), projected.project(states[:, :, 2:]))
    assert (projected.num_states, projected.width) == (1, 24)


@pytest.mark.parametrize("changes", [{}, {"states": [1, 2], "final_norm": True, "output_width": 24}])
def test_config_rebuilds_the_audio_encoder_through_json(changes: dict[str, object]) -> None:
    audio_encoder = small(**changes)
    again = AudioEncoder.from_config(json.loads(json.dumps(audio_encoder.config))).eval()
    again.load_state_dict(audio_encoder.state_dict())
    with torch.no_grad():
        assert torch.equal(again(mel()), audio_encoder(mel()))


@pytest.mark.parametrize("changes", [{}, {"states": [2], "final_norm": True, "output_width": 24}])
def test_every_trainable_parameter_that_is_heard_gets_a_gradient(changes: dict[str, object]) -> None:
    audio_encoder = small(**changes).train()
    audio_encoder(mel()).square().sum().backward()
    without = [name for name, value in audio_encoder.named_parameters() if value.requires_grad and value.grad is None]
    assert without == []
    assert not audio_encoder.encoder.embed_positions.weight.requires_grad


def test_bfloat16_stays_close_to_float32() -> None:
    audio_encoder = small()
    with torch.no_grad():
        states = audio_encoder(mel())
        half = audio_encoder.to(torch.bfloat16)(mel())
    assert half.dtype == torch.bfloat16
    assert (half.float() - states).norm() / states.norm() < 0.02  # measured 0.005; bfloat16 keeps 8 bits


def test_configs_of_known_checkpoints() -> None:
    dims = {"n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": 384, "n_audio_head": 6, "n_audio_layer": 4}
    assert AudioEncoderConfig.from_openai(dims) == AudioEncoderConfig()
    hub = hub_model().config.to_dict()
    assert AudioEncoderConfig.from_transformers(hub) == AudioEncoderConfig.from_mapping(SMALL)


@pytest.mark.parametrize(
    ("change", "fix"),
    [
        ({"depth": 3}, "unknown setting; did you mean"),
        ({"width": 33}, "even multiple of 2 heads"),
        ({"states": [3]}, "from 0 to 2"),
        ({"states": []}, "from 0 to 2"),
        ({"positions": 0}, "1 or more"),
        ({"states": [0], "final_norm": True}, "not heard"),
    ],
)
def test_bad_configs_are_refused(change: dict[str, object], fix: str) -> None:
    with pytest.raises(ConfigError, match=fix):
        AudioEncoder.from_config({**SMALL, **change})


def test_mel_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="expected \\(B, 80, 100\\)"):
        small()(torch.zeros(1, 80, 98))
