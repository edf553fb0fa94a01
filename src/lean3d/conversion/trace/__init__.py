"""Records of a forward, and the analyses of these records."""
