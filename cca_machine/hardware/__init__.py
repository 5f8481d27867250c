"""RME hardware: who may touch which granule, sparse memory contents, and processing elements."""
