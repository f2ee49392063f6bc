"""Container images: one content-addressed store, archives in, registries in. `Images` is the way in."""
