"""Suites over folders of clips: protocols, baselines, tables and reports. The scores themselves are in `metrics/`."""
