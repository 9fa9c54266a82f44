"""Pod volumes: what goes into them (pure) and how they are put on disk (atomically, as upstream lays it out)."""
