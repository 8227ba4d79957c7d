"""Sound to what the networks hear: mel spectrograms, windows per frame, voice activity."""

from latentsync.audio.mel import syncnet_mel, whisper_log_mel
from latentsync.audio.windows import compatible_num_frames, frame_windows

__all__ = ["compatible_num_frames", "frame_windows", "syncnet_mel", "whisper_log_mel"]
