"""The host's own pages that it shows to firmware."""

from __future__ import annotations

from cca_machine.hardware.address import GRANULE_BYTES


class HostMemory:
    """Addresses of the host's own buffers, outside the pool that it lends from.

    `lists` holds an address list while memory is donated or reclaimed; nothing is staged at that time.
    """

    def __init__(self, base: int, granules: int) -> None:
        self.params = base
        self.run = base + GRANULE_BYTES
        self.staging = base + 2 * GRANULE_BYTES
        self.staging_pages = granules - 2
        self.lists = self.staging
