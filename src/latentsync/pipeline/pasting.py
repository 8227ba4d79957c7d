"""The generated crop back into its frame, as the options ask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from latentsync.config.options import SyncOptions
from latentsync.core.values import Float, Frame
from latentsync.faces import inpaint_mask, paste_compatible, paste_mouth
from latentsync.faces import topology as mesh
from latentsync.faces.alignment import compose, invert, square_matrix, transform
from latentsync.generation.settings import ModelSettings
from latentsync.pipeline.chunks import FrameTask

CHIN_ROOM = 0.12
"""The outline is lowered by this share of the crop at the chin, and less towards the temples: a chin moves with the new
mouth, while beside a turned head's jaw there is background."""
_CHIN = CHIN_ROOM * (1 - np.abs(np.linspace(-1, 1, len(mesh.JAW), dtype=np.float32))) ** 2


class Paster:
    """Pastes crops; stateless."""

    def __init__(self, mask: Float, settings: ModelSettings, options: SyncOptions) -> None:
        """Args: mask: (R, R), 1 = generated."""
        self._whole, self._feather, self._mode = mask, settings.feather, options.paste
        own = settings.paste_mask
        self._is_cut = own is not None  # the frame keeps its own jaw, so nothing new lies beyond its outline
        self._mask = mask if own is None else inpaint_mask(settings.resolution, own)

    def __call__(self, task: FrameTask, crop: Float, original: Float) -> Frame:
        """The task's frame with the crop's mouth in it.

        Args:
            crop, original: (R, R, 3) float32 in [0, 1]: generated, and as cut out of the frame.
        """
        face = task.face
        if face is None:
            return task.frame
        picture = task.frame.picture
        if self._mode == "compatible":
            inside = self._whole[..., None]
            # as in the released tool one matrix serves both ways; its running offset is in neither of ours
            aligned = compose(invert(square_matrix(crop.shape[0])), face.frame_to_crop)
            picture = paste_compatible(picture, crop * inside + original * (1 - inside), aligned, task.strength)
        else:
            outline = None
            if self._is_cut:
                outline = transform(face.frame_to_crop, face.landmarks[list(mesh.JAW)]).astype(np.float32)
                outline[:, 1] += _CHIN * crop.shape[0]
            picture = paste_mouth(
                picture, crop, face.frame_to_crop, self._mask, self._feather, original=original,
                strength=task.strength, outline=outline,
            )  # fmt: skip
        return replace(task.frame, picture=picture)
