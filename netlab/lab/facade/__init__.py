"""What users script with: `netlab.Lab` and what its calls give. Synchronous, for tests and notebooks.

Speaks to the API directly, and to namespaces through the portal: most calls take a few ms and start no process. May not
know how a part of the lab does its work.
"""

from netlab.lab.facade.lab import Lab
from netlab.lab.facade.model import DnsAnswer, Interface, Observation, Response, Unreachable, WaitTimeout

__all__ = ["DnsAnswer", "Interface", "Lab", "Observation", "Response", "Unreachable", "WaitTimeout"]
