"""Health, metrics, problem types and documentation pages."""
