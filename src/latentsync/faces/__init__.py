"""Faces: find and follow them, align them to the template, cut crops out and paste mouths back."""

from latentsync.faces.alignment import TEMPLATE, ShapeOffset, alignment_matrix
from latentsync.faces.crop import crop_box, extract_crop
from latentsync.faces.follower import FaceFollower, FollowerConfig, PeopleFollower, Wanted
from latentsync.faces.masks import inpaint_mask, latent_mask
from latentsync.faces.paste import paste_mouth
from latentsync.faces.paste_compatible import paste_compatible
from latentsync.faces.points import alignment_points
from latentsync.faces.protocol import FaceTracker, TrackingSession
from latentsync.faces.tracker import MeshTracker, TrackerConfig

__all__ = [
    "TEMPLATE",
    "FaceFollower",
    "FaceTracker",
    "FollowerConfig",
    "MeshTracker",
    "PeopleFollower",
    "ShapeOffset",
    "TrackerConfig",
    "TrackingSession",
    "Wanted",
    "alignment_matrix",
    "alignment_points",
    "crop_box",
    "extract_crop",
    "inpaint_mask",
    "latent_mask",
    "paste_compatible",
    "paste_mouth",
]
