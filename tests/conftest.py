"""Puts this folder on the path, so that tests of every floor can import `synth_media`."""
