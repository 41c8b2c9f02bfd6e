"""What the operator allows, and our own limits: which packages, which addresses, when to download, when to leave an upstream alone."""
