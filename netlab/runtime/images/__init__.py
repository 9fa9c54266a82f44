"""What an image name means: programs of this machine, builtin servers, or what the user loaded. No registry."""
