"""EL3: routes SMCs, moves granules between worlds, boots and measures firmware, vouches for it, and replaces it live.

Start with `dispatch.Monitor`; what it keeps is in `state`, who it talks to in `ports`.
"""
