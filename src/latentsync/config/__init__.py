"""Every knob: frozen dataclasses, presets and the loader. YAML is read here and nowhere else. No torch here."""
