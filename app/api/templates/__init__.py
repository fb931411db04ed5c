"""Templates, their versions and previews."""
