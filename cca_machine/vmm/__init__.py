"""Layouts of real VMMs: what kvmtool, QEMU and Cloud Hypervisor load where, and the RIM that follows from it.

limits        what host and VMM allow a Realm, merged lower wins
inputs        kernel, initrd, firmware and device tree as bytes
layout        the loading plan that every VMM's command line comes to
kvmtool, qemu, cloud_hypervisor
              one VMM each: command line and device tree to plan
blob          the flattened device tree format and the nodes that VMMs share
measure       drives a plan through the model's own RMI, and gives the RIM after every step
"""
