"""The read side: signals, signed links to their pictures, and the administration of tenants."""
