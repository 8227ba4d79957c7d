"""Rates of speech and of what networks see of it, said once.

The 16 kHz, the 10 ms mel step and the 50 states a second are Whisper's (Radford et al. 2022, section 2.2).
"""

from __future__ import annotations

SPEECH_RATE_HZ = 16_000
"""Samples of speech per second, as every network hears it."""
STATE_RATE_HZ = 50
"""Hidden states of the audio encoder per second."""
SAMPLES_PER_STATE = SPEECH_RATE_HZ // STATE_RATE_HZ
MEL_STEPS_PER_STATE = 2
TRAINING_FPS = 25
"""Frames per second of training clips and of the released models."""
