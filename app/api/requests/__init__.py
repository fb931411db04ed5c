"""Every request, before and after its route: middleware, bodies, JSON, problems."""
