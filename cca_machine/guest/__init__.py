"""What runs inside Realms: small programs that call the RSI and deal with the key broker."""
