"""Container images as confidential containers take them: OCI manifests, encrypted layers, signatures, init-data."""
