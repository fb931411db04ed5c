"""Plain HTTP: field types, pages, request ids, root path. No tenants, no keys."""
