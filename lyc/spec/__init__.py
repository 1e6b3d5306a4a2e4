"""What the user wrote: the table of settings, names, model references and lyc.toml."""
