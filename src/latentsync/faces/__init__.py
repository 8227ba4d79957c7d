"""Faces: find and follow them, align them to the template, cut crops out and paste mouths back."""

from latentsync.faces.alignment import TEMPLATE, alignment_matrix
from latentsync.faces.masks import inpaint_mask, latent_mask

__all__ = ["TEMPLATE", "alignment_matrix", "inpaint_mask", "latent_mask"]
