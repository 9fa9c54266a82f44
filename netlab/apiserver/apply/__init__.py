"""Server-side apply and managedFields (KEP-555): who owns which field, and what applying a configuration means."""
