"""Server-side apply and managedFields (KEP-555): who owns which field, and what applying a configuration means.

The rules are pure and live in `netlab.api.managedfields`; here they meet requests. May not write to the store itself.
"""
