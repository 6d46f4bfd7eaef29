"""The emoji world: a catalogue of glyphs, scenes drawn with them, and photographs."""
