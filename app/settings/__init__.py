"""Define and read the settings. Only `main` and the commands do; lower layers get values."""
