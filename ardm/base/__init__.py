"""What every wing stands on: errors, whole files, devices, random streams, fingerprints, provenance, and the version."""

__version__ = "0.1.0"
