"""Plain HTTP: types of fields, pages, request ids, root path. It knows no tenant and no key."""
