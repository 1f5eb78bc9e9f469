"""What every wing stands on: errors, whole files, devices, random streams, fingerprints, provenance."""
